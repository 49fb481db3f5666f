import assert from 'node:assert/strict';
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { present } from '../../lib/assert.ts';
import { walSize } from '../../formats/sqlite/index.ts';
import { randomNumbers } from '../../testing/index.ts';
import { type AppDatabase, integrityOf } from '../../../test/support/app-database.ts';
import {
  differences,
  follow,
  foreignCheckpoint,
  openScene,
  PageImage,
  type Scene,
  wrongPages,
} from '../../../test/support/capture.ts';
import { pagesOf } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { ContinuityLost } from './continuity-lost.ts';

const ALL = { limitBytes: 0, gather: false, yields: true };
const WHY = { reason: 'test', level: 'info' } as const;
const FRAME = 4096 + 24;

const SITUATIONS: readonly (readonly [
  what: string,
  before: (app: AppDatabase, checkpoint: () => void) => void,
])[] = [
  ['everything in the WAL', () => undefined],
  ['everything in the database file', (_app, checkpoint) => checkpoint()],
  [
    'a part in each',
    (app, checkpoint) => {
      checkpoint();
      app.insert(30);
    },
  ],
];
for (const [what, before] of SITUATIONS) {
  test(`a full transaction is the database page by page with ${what}`, async (t) => {
    const scene = openScene(t, {
      before: (app, foreign) => before(app, () => void foreignCheckpoint(foreign, 'PASSIVE')),
    });
    const full = await scene.session.freezeFull(WHY);
    scene.image.apply(full);
    assert.deepEqual(wrongPages(scene), []);
    assert.equal(full?.full?.reason, 'test');
    assert.equal(scene.session.pages, 0);
  });

  test(`CAP-04 a full transaction stays as it was while others commit and checkpoint, with ${what}`, async (t) => {
    const scene = openScene(t, {
      before: (app, foreign) => before(app, () => void foreignCheckpoint(foreign, 'PASSIVE')),
    });
    const expected = pagesOf(scene.path);
    const full = await scene.session.freezeFull(WHY);
    scene.app.exec("UPDATE t SET v = 'changed'");
    scene.app.insert(20);
    for (const mode of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const) {
      foreignCheckpoint(scene.foreign, mode);
    }
    scene.app.insert(20);
    scene.image.apply(full);
    assert.deepEqual(differences(scene.image.pages, expected), []);
    await follow(scene);
    assert.deepEqual(wrongPages(scene), []);
  });
}

test('CAP-04 CHK-05 a full transaction taken while others commit and checkpoint is one state of the database', async (t) => {
  const scene = openScene(t, {
    rows: 400,
    before: (app, foreign) => {
      for (let n = 0; n < 3; n++) app.exec(`UPDATE t SET v = 'u${n}', b = randomblob(3000)`);
      foreignCheckpoint(foreign, 'PASSIVE');
    },
  });
  let stop = false;
  const disturb = (): void => {
    if (stop) return;
    scene.app.insert(1);
    foreignCheckpoint(scene.foreign, 'PASSIVE');
    setImmediate(disturb);
  };
  setImmediate(disturb);
  const full = await scene.session.freezeFull(WHY);
  stop = true;
  scene.image.apply(full);
  const copy = join(tempDir(t), 'copy.db');
  writeFileSync(copy, Buffer.concat(scene.image.pages));
  assert.equal(integrityOf(copy), 'ok');
  await follow(scene);
  assert.deepEqual(wrongPages(scene), []);
});

test('there is no full transaction of a database without pages', async (t) => {
  const path = join(tempDir(t), 'empty.db');
  writeFileSync(path, '');
  const scene = openScene(t, { rows: 0 });
  assert.equal(scene.session.freeze(), undefined);
  const full = await scene.session.freezeFull(WHY);
  assert.ok((full?.commit ?? 0) > 0, 'a schema is content');
});

test('ranges follow one another and begin at 32 in a new generation', async (t) => {
  const { app, foreign, session } = openScene(t, {
    before: (_app, other) => void foreignCheckpoint(other, 'PASSIVE'),
  });
  const full = await session.freezeFull(WHY);
  assert.equal(full?.range.offset, 32);
  const ranges = [];
  const salts = [full.range.salt1];
  for (let n = 0; n < 3; n++) {
    // The reader is on mark 0: the first of these restarts the WAL.
    app.insert(1);
    await session.captureNow(ALL);
    app.insert(1);
    await session.captureNow(ALL);
    const { range } = present(session.freeze(), 'a transaction');
    ranges.push(range);
    salts.push(range.salt1);
  }
  assert.notEqual(salts[1], salts[0]);
  assert.deepEqual(new Set(salts.slice(1)).size, 1);
  let end = 32;
  for (const range of ranges) {
    assert.equal(range.offset, end);
    assert.ok(range.size > 0 && range.size % FRAME === 0);
    end += range.size;
  }
  assert.equal(session.freeze(), undefined);
  assert.equal(foreignCheckpoint(foreign, 'PASSIVE').log, (end - 32) / FRAME);
});

test('a gathered batch over two generations carries the range in the newer one', async (t) => {
  const scene = openScene(t);
  const { app, live, session } = scene;
  scene.image.apply(await session.freezeFull(WHY));
  app.insert(3);
  await session.captureNow({ ...ALL, gather: true });
  assert.ok(live.beginSuccessor());
  await session.captureNow({ ...ALL, gather: true });
  live.promoteSuccessor();
  session.pin();
  live.checkpointTail();
  assert.ok(live.beginSuccessor());
  live.promoteSuccessor();
  app.insert(3);
  await session.captureNow(ALL);
  const transaction = present(session.freeze(), 'a transaction');
  assert.equal(transaction.range.offset, 32);
  assert.equal(transaction.range.salt1, session.capture.header()?.salt1);
  assert.equal(transaction.range.size, session.capture.frames * FRAME);
  scene.image.apply(transaction);
  assert.deepEqual(wrongPages(scene), []);
});

test('CAP-13 E4 the byte limit cuts at commits only', async (t) => {
  const scene = openScene(t);
  const { app, session } = scene;
  scene.image.apply(await session.freezeFull(WHY));
  const commits = new Set<number>();
  for (let n = 0; n < 300; n++) {
    app.insert(5);
    commits.add(app.walBytes());
  }
  const limitBytes = 100 * FRAME;
  let cuts = 0;
  for (let end = false; !end;) {
    const captured = await session.captureNow({ ...ALL, limitBytes });
    end = captured.end;
    if (end && session.pages === 0) break;
    const { range, commit } = present(session.freeze(), 'a transaction');
    assert.ok(commits.has(range.offset + range.size), 'behind a commit');
    assert.ok(commit > 0);
    assert.ok(range.size < limitBytes + 200 * FRAME, 'not far above the limit');
    if (!end) assert.ok(range.size >= limitBytes);
    cuts++;
  }
  assert.ok(cuts >= 3);
});

test('a transaction larger than the byte limit is not split', async (t) => {
  const scene = openScene(t);
  const { app, session } = scene;
  scene.image.apply(await session.freezeFull(WHY));
  app.insert(500, 3000);
  await session.captureNow({ ...ALL, limitBytes: 10 * FRAME });
  const transaction = present(session.freeze(), 'a transaction');
  assert.equal(transaction.range.offset + transaction.range.size, app.walBytes());
  scene.image.apply(transaction);
  assert.deepEqual(wrongPages(scene), []);
});

test('frames from before custody may be overwritten: their batch becomes a transaction of its own', async (t) => {
  const scene = openScene(t, {
    before: (app, foreign) => {
      app.insert(40);
      foreignCheckpoint(foreign, 'PASSIVE');
    },
  });
  const { app, image, session } = scene;
  const expected = pagesOf(scene.path);
  await session.captureNow(ALL);
  app.exec("UPDATE t SET v = 'over the old frames'");
  await session.captureNow(ALL);
  image.apply(session.freeze());
  assert.deepEqual(differences(image.pages, expected), [], 'the state before');
  image.apply(session.freeze());
  assert.deepEqual(wrongPages(scene), []);
});

test('a restart over captured frames under custody breaks continuity', async (t) => {
  const { app, session } = openScene(t, {
    before: (_app, foreign) => void foreignCheckpoint(foreign, 'PASSIVE'),
  });
  // Not true here: the frames are from before custody.
  session.pin();
  await session.captureNow(ALL);
  app.insert(1);
  await assert.rejects(session.captureNow(ALL), ContinuityLost);
});

test('CAP-08 a shrunken database loses its last pages, and grows again without old ones', async (t) => {
  const scene = openScene(t, { rows: 500 });
  scene.image.apply(await scene.session.freezeFull(WHY));
  const before = scene.image.pages.length;
  scene.app.exec('DELETE FROM t WHERE id > 20; VACUUM');
  await follow(scene);
  assert.ok(scene.image.pages.length < before);
  assert.deepEqual(wrongPages(scene), []);
  scene.app.insert(600);
  await follow(scene);
  assert.deepEqual(wrongPages(scene), []);
});

for (const mark of ['above 0', '0'] as const) {
  test(`CAP-05 a view is the captured state, whatever is committed later (reader on mark ${mark})`, async (t) => {
    const scene = openScene(t, {
      before: (_app, foreign) => {
        if (mark === '0') foreignCheckpoint(foreign, 'PASSIVE');
      },
    });
    const { app, foreign, session } = scene;
    await session.freezeFull(WHY);
    app.insert(10);
    await follow(scene);
    const expected = pagesOf(scene.path);
    const view = present(await session.view(), 'a view');
    app.exec("UPDATE t SET v = 'later'");
    foreignCheckpoint(foreign, 'PASSIVE');
    foreignCheckpoint(foreign, 'TRUNCATE');
    app.insert(50);
    const image = new PageImage();
    image.apply(view);
    assert.deepEqual(differences(image.pages, expected), []);
    assert.equal(
      view.range.offset + view.range.size <= walSize(session.capture.frames, 4096),
      true,
    );
  });
}

test('a view of a database whose WAL restarts meanwhile comes from the database file', async (t) => {
  const scene = openScene(t, {
    before: (_app, foreign) => void foreignCheckpoint(foreign, 'PASSIVE'),
  });
  await scene.session.freezeFull(WHY);
  const expected = pagesOf(scene.path);
  const view = present(await scene.session.view(), 'a view');
  scene.app.exec("UPDATE t SET v = 'over the old frames'");
  const image = new PageImage();
  image.apply(view);
  assert.deepEqual(differences(image.pages, expected), []);
});

test('a view leaves the session as it is', async (t) => {
  const scene = openScene(t);
  scene.image.apply(await scene.session.freezeFull(WHY));
  const before = scene.session.capture.position;
  await scene.session.view();
  assert.deepEqual(scene.session.capture.position, before);
  scene.app.insert(5);
  await follow(scene);
  assert.deepEqual(wrongPages(scene), []);
});

/** One random action of the application, another program, or ours. */
async function step(scene: Scene, random: () => number): Promise<void> {
  const { app, foreign, live, session } = scene;
  const dice = Math.floor(random() * 12);
  if (dice < 4) app.insert(1 + Math.floor(random() * 20), 100 + Math.floor(random() * 2000));
  else if (dice === 4) app.exec(`UPDATE t SET v = 'x${random()}' WHERE id % 7 = 0`);
  else if (dice === 5) app.exec('DELETE FROM t WHERE id % 3 = 0');
  else if (dice === 6) app.exec('BEGIN; DELETE FROM t; ROLLBACK');
  else if (dice === 7 && random() < 0.3) app.exec('VACUUM');
  else if (dice === 8) {
    const modes = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const;
    foreignCheckpoint(foreign, modes[Math.floor(random() * 4)] ?? 'PASSIVE');
  } else if (dice === 9) await session.captureNow({ ...ALL, gather: random() < 0.5 });
  else if (dice === 10) await follow(scene);
  else if (dice === 11 && live.beginSuccessor()) {
    await session.captureNow({ ...ALL, gather: true });
    live.promoteSuccessor();
    session.pin();
    if (random() < 0.7) live.checkpointTail();
  }
}

test('E1 whatever application and other programs do under custody, no commit is missed', async (t) => {
  const seeds = process.env['SLOW'] === '1' ? 200 : 12;
  for (let seed = 1; seed <= seeds; seed++) {
    await t.test(`seed ${seed}`, async (inner) => {
      const random = randomNumbers(seed);
      const scene = openScene(inner, {
        before: (_app, foreign) => {
          if (random() < 0.5) foreignCheckpoint(foreign, 'PASSIVE');
        },
      });
      scene.image.apply(await scene.session.freezeFull(WHY));
      for (let n = 0; n < 60; n++) await step(scene, random);
      await follow(scene);
      assert.deepEqual(wrongPages(scene), []);
    });
  }
});
