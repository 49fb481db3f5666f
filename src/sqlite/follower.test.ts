import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test, { type TestContext } from 'node:test';
import { parseDatabaseHeader, patchFollowedPage } from '../formats/sqlite/index.ts';
import { sleep, systemClock } from '../lib/clock.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import { FaultyFileSystem, SimulatedCrash } from '../testing/index.ts';
import { FollowedDatabase } from './follower.ts';
import type { FollowedPages, PageRun } from './follower-change.ts';

const PAGE = 512;
const never = new AbortController().signal;

/** States of a database: images with rollback-mode headers. */
interface Scene {
  readonly path: string;
  readonly images: readonly Buffer[];
}

function scene(t: TestContext, steps: readonly string[]): Scene {
  const folder = mkdtempSync(join(tmpdir(), 'follower-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const source = join(folder, 'source.db');
  const db = new DatabaseSync(source);
  db.exec(`PRAGMA page_size = ${PAGE}`);
  const images = steps.map((sql) => {
    db.exec(sql);
    const image = readFileSync(source);
    patchFollowedPage(image, 1);
    return image;
  });
  db.close();
  const path = join(folder, 'out.db');
  writeFileSync(path, images[0] ?? '');
  return { path, images };
}

/** What leads from one image to another, as runs of consecutive pages. */
function difference(from: Buffer, to: Buffer): FollowedPages {
  const runs: PageRun[] = [];
  for (let at = 0; at < to.length; at += PAGE) {
    const data = to.subarray(at, at + PAGE);
    if (!data.equals(from.subarray(at, at + PAGE))) runs.push({ pgno: at / PAGE + 1, data });
  }
  return {
    pageSize: PAGE,
    commit: to.length / PAGE,
    async *pages() {
      await Promise.resolve();
      yield* runs;
    },
  };
}

const open = (path: string, fileSystem = nodeFileSystem): Promise<FollowedDatabase> =>
  FollowedDatabase.open(path, { fileSystem, clock: systemClock });

/** Content without the fields of page 1 that belong to the follower. */
function content(bytes: Buffer): string {
  const copy = Buffer.from(bytes);
  for (const [from, to] of [
    [24, 32],
    [92, 96],
  ] as const)
    copy.fill(0, from, to);
  return copy.toString('latin1');
}

function count(path: string): unknown {
  const db = new DatabaseSync(path);
  try {
    assert.deepEqual(
      db
        .prepare('PRAGMA integrity_check')
        .all()
        .map((row) => row['integrity_check']),
      ['ok'],
    );
    return db.prepare('SELECT count(*) AS n FROM t').get()?.['n'];
  } finally {
    db.close();
  }
}

const CREATE = 'CREATE TABLE t (id INTEGER PRIMARY KEY, v)';
const FILL =
  'WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 40) ' +
  'INSERT INTO t SELECT NULL, randomblob(200) FROM s';
const UPDATE = 'UPDATE t SET v = randomblob(200) WHERE id % 3 = 0';
const SHRINK = 'DELETE FROM t WHERE id > 5; VACUUM';
const STEPS = [CREATE, FILL, UPDATE, SHRINK] as const;

test('a database grows, changes and shrinks with its transactions, and its change counter with each of them', async (t) => {
  const { path, images } = scene(t, STEPS);
  const database = await open(path);
  t.after(() => database.close());
  let counter = parseDatabaseHeader(readFileSync(path))?.changeCounter ?? 0;
  for (const [at, image] of images.slice(1).entries()) {
    await database.apply(difference(images[at] ?? image, image), never);
    const bytes = readFileSync(path);
    assert.equal(content(bytes), content(image));
    const header = parseDatabaseHeader(bytes);
    assert.deepEqual([header?.readVersion, header?.writeVersion], [1, 1]);
    assert.equal(header?.changeCounter, counter + 1);
    assert.equal(header.pageCount, image.length / PAGE);
    assert.equal(bytes.readUInt32BE(92), header.changeCounter);
    counter += 1;
  }
});

test('the same transaction twice leaves the same content', async (t) => {
  const { path, images } = scene(t, STEPS.slice(0, 2));
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = images;
  const database = await open(path);
  for (let round = 0; round < 2; round += 1) await database.apply(difference(first, second), never);
  await database.close();
  assert.equal(content(readFileSync(path)), content(second));
  assert.ok(!existsSync(`${path}-journal`));
});

test('pages that turn out to be damaged are never written', async (t) => {
  const { path, images } = scene(t, STEPS.slice(0, 2));
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = images;
  const database = await open(path);
  t.after(() => database.close());
  const sound = difference(first, second);
  const damaged: FollowedPages = {
    ...sound,
    async *pages() {
      yield* sound.pages();
      throw new Error('file checksum mismatch');
    },
  };
  await assert.rejects(database.apply(damaged, never), /file checksum mismatch/);
  assert.deepEqual(readFileSync(path), first);
  await database.prepare(never);
  await database.apply(sound, never);
  assert.equal(count(path), 40);
});

test('another page size is refused', async (t) => {
  const { path, images } = scene(t, STEPS.slice(0, 1));
  const [image = Buffer.alloc(0)] = images;
  const database = await open(path);
  t.after(() => database.close());
  await assert.rejects(database.apply({ ...difference(image, image), pageSize: 1024 }, never), {
    code: 'ERR_DB_INVALID',
  });
});

const SWEEPS = [
  ['grows', CREATE, FILL],
  ['changes', `${CREATE}; ${FILL}`, UPDATE],
  ['shrinks', `${CREATE}; ${FILL}`, SHRINK],
] as const;

for (const [what, ...steps] of SWEEPS) {
  test(`a crash at any call leaves the state before or after where the database ${what}`, async (t) => {
    const all = scene(t, steps);
    const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = all.images;
    const fileSystem = new FaultyFileSystem(nodeFileSystem);
    const run = async (): Promise<void> => {
      writeFileSync(all.path, first);
      rmSync(`${all.path}-journal`, { force: true });
      const database = await open(all.path, fileSystem);
      try {
        await database.apply(difference(first, second), never);
      } finally {
        await database.close().catch(() => undefined);
      }
    };
    await run();
    const calls = fileSystem.calls.length;
    assert.ok(calls > 10);
    const outcomes = new Set<string>();
    for (let nth = 1; nth <= calls; nth += 1) {
      for (const after of [false, true]) {
        fileSystem.reset();
        fileSystem.crash({ nth, after });
        await run().catch((error: unknown) =>
          assert.ok(error instanceof SimulatedCrash, String(error)),
        );
        // The next one who opens it is an ordinary reader.
        const rows = count(all.path);
        const found = content(readFileSync(all.path));
        const which = found === content(first) ? 'before' : 'after';
        if (which === 'after') assert.equal(found, content(second), `call ${nth}`);
        outcomes.add(`${which} ${String(rows)}`);
      }
    }
    assert.equal(outcomes.size, 2);
  });
}

test('a failed write is rolled back at once', async (t) => {
  const { path, images } = scene(t, STEPS.slice(0, 2));
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = images;
  const fileSystem = new FaultyFileSystem(nodeFileSystem);
  const database = await open(path, fileSystem);
  t.after(() => database.close());
  for (const label of ['follow:truncate', 'follow:write', 'follow:sync', 'follow:journal-disarm']) {
    fileSystem.fail('ENOSPC', { label });
    await assert.rejects(
      database.apply(difference(first, second), never),
      { code: 'ERR_DISK_FULL' },
      label,
    );
    assert.equal(content(readFileSync(path)), content(first), label);
  }
  await database.apply(difference(first, second), never);
  assert.equal(content(readFileSync(path)), content(second));
});

test('a reader is waited for without blocking, and sees the change afterwards', async (t) => {
  const { path, images } = scene(t, STEPS.slice(0, 2));
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = images;
  // SQLite keeps connections of one process apart by the same rules as those of two.
  const reader = new DatabaseSync(path);
  reader.exec('BEGIN; SELECT * FROM t');
  reader.prepare('SELECT count(*) FROM t').get();
  const database = await open(path);
  t.after(() => database.close());
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 1);
  const work = database.apply(difference(first, second), never);
  await sleep(systemClock, 100);
  assert.deepEqual(readFileSync(path), first);
  reader.exec('COMMIT');
  await work;
  clearInterval(timer);
  assert.ok(turns > 5);
  assert.equal(reader.prepare('SELECT count(*) AS n FROM t').get()?.['n'], 40);
  reader.close();
});

test('a wait for a reader ends with the signal', async (t) => {
  const { path, images } = scene(t, STEPS.slice(0, 2));
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = images;
  const reader = new DatabaseSync(path);
  t.after(() => reader.close());
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM t').get();
  const database = await open(path);
  t.after(() => database.close());
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 30);
  await assert.rejects(database.apply(difference(first, second), stop.signal), {
    code: 'ERR_ABORTED',
  });
  assert.deepEqual(readFileSync(path), first);
});

test('a database in WAL mode is taken out of it once its readers are gone', async (t) => {
  const { path, images } = scene(t, STEPS.slice(0, 2));
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = images;
  const other = new DatabaseSync(path);
  other.exec('PRAGMA journal_mode = wal');
  other.prepare('SELECT count(*) FROM t').get();
  const database = await open(path);
  t.after(() => database.close());
  const stop = new AbortController();
  const waiting = database.prepare(stop.signal);
  setTimeout(() => other.close(), 30);
  await waiting;
  assert.ok(!existsSync(`${path}-wal`));
  await database.apply(difference(first, second), never);
  assert.equal(content(readFileSync(path)), content(second));
});

test('a switch to WAL mode between two transactions is noticed under the lock', async (t) => {
  const { path, images } = scene(t, STEPS.slice(0, 2));
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = images;
  const database = await open(path);
  t.after(() => database.close());
  await database.prepare(never);
  const pages = difference(first, second);
  const switching: FollowedPages = {
    ...pages,
    async *pages() {
      yield* pages.pages();
      const other = new DatabaseSync(path);
      other.exec('PRAGMA journal_mode = wal');
      t.after(() => other.close());
    },
  };
  await assert.rejects(database.apply(switching, never), { code: 'ERR_DB_BUSY' });
});

test('an output that was removed or replaced is not followed', async (t) => {
  const { path } = scene(t, STEPS.slice(0, 1));
  const database = await open(path);
  t.after(() => database.close());
  copyFileSync(path, `${path}.copy`);
  rmSync(path);
  await assert.rejects(database.prepare(never), { code: 'ERR_DB_NOT_FOUND', message: /removed/ });
  copyFileSync(`${path}.copy`, path);
  await assert.rejects(database.prepare(never), { code: 'ERR_DB_NOT_FOUND', message: /replaced/ });
});
