import assert from 'node:assert/strict';
import { appendFileSync, readFileSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { checksumPair, walChecksumBytes } from '../../kernels/index.ts';
import { present } from '../../lib/assert.ts';
import { systemClock, yieldToLoop } from '../../lib/clock.ts';
import { noopLogger } from '../../telemetry/index.ts';
import {
  follow,
  foreignCheckpoint,
  foreignConnection,
  openScene,
  type Scene,
  type SceneOptions,
  wrongPages,
} from '../../../test/support/capture.ts';
import { contentOf } from '../../../test/support/app-database.ts';
import { Checkpointer } from './checkpointer.ts';
import { ContinuityLost } from './continuity-lost.ts';
import { join } from 'node:path';
import { tempDir } from '../../../test/support/temp-dir.ts';

const ALL = { limitBytes: 0, gather: false, yields: true };
const LIVE = new AbortController().signal;

interface Bench extends Scene {
  readonly checkpointer: Checkpointer;
  readonly salt1: () => number | undefined;
}

/** A scene whose database was captured, and a checkpointer that puts what it has to flush on the image. */
async function openBench(t: TestContext, options: SceneOptions = {}): Promise<Bench> {
  const scene = openScene(t, options);
  const { image, session } = scene;
  const flush = (): Promise<void> => {
    for (let next = session.freeze(); next !== undefined; next = session.freeze()) {
      image.apply(next);
    }
    return Promise.resolve();
  };
  const checkpointer = new Checkpointer({
    clock: systemClock,
    logger: noopLogger,
    flush,
    gatherPending: () => true,
  });
  image.apply(await session.freezeFull({ reason: '', level: 'info' }));
  return { ...scene, checkpointer, salt1: () => session.capture.header()?.salt1 };
}

for (const rows of [5, 3_000]) {
  test(`a complete checkpoint lets the next write restart the WAL (${rows} rows)`, async (t) => {
    const bench = await openBench(t);
    const { app, checkpointer, session, salt1 } = bench;
    app.insert(rows, 1_000);
    await session.captureNow(ALL);
    assert.ok(checkpointer.pending(session) > 0);
    assert.equal(await checkpointer.run(session, LIVE), 'complete');
    assert.equal(checkpointer.pending(session), 0);
    const before = { salt1: salt1(), bytes: app.walBytes() };
    app.insert(1);
    assert.notEqual(salt1(), before.salt1);
    assert.equal(app.walBytes(), before.bytes, 'the file is used again');
    await follow(bench);
    assert.deepEqual(wrongPages(bench), []);
  });
}

test('CHK-06 CHK-15 the WAL stays small over many checkpoints, and nothing is missed', async (t) => {
  const bench = await openBench(t);
  const { app, checkpointer, session } = bench;
  let largest = 0;
  for (let round = 0; round < 40; round++) {
    app.insert(10, 500);
    app.exec(`UPDATE t SET v = 'r${round}' WHERE id % 10 = ${round % 10}`);
    await session.captureNow(ALL);
    assert.equal(await checkpointer.run(session, LIVE), 'complete');
    if (round === 2) largest = app.walBytes();
  }
  assert.ok(app.walBytes() <= 4 * largest);
  await follow(bench);
  assert.deepEqual(wrongPages(bench), []);
});

test('CHK-02 a checkpoint commits nothing and changes nothing', async (t) => {
  const { app, checkpointer, foreign, path, session } = await openBench(t);
  app.insert(700, 1_000);
  const version = (): unknown => foreign.prepare('PRAGMA data_version').get()?.['data_version'];
  const schema = (): unknown => foreign.prepare('SELECT * FROM sqlite_schema').all();
  const before = { version: version(), schema: schema(), content: contentOf(path) };
  const wal = readFileSync(`${path}-wal`);
  assert.equal(await checkpointer.run(session, LIVE), 'complete');
  assert.deepEqual(readFileSync(`${path}-wal`), wal, 'no frame was added');
  assert.deepEqual({ version: version(), schema: schema(), content: contentOf(path) }, before);
});

for (const rows of [20, 3_000]) {
  test(`another reader blocks a checkpoint until it ends (${rows} rows)`, async (t) => {
    const bench = await openBench(t);
    const { app, checkpointer, foreign, session } = bench;
    app.insert(1);
    foreign.exec('BEGIN');
    foreign.prepare('SELECT count(*) FROM t').get();
    app.insert(rows, 1_000);
    await session.captureNow(ALL);
    assert.equal(await checkpointer.run(session, LIVE), 'blocked');
    assert.ok(checkpointer.pending(session) > 0);
    app.insert(1);
    foreign.exec('COMMIT');
    assert.equal(await checkpointer.run(session, LIVE), 'complete');
    await follow(bench);
    assert.deepEqual(wrongPages(bench), []);
  });
}

test('CHK-12 another writer that keeps the lock ends a checkpoint, and nobody waits inside SQLite', async (t) => {
  const bench = await openBench(t);
  const { app, checkpointer, foreign, live, session } = bench;
  app.insert(5);
  foreign.exec('BEGIN IMMEDIATE');
  let turns = 0;
  const timer = setInterval(() => void turns++, 1);
  assert.equal(live.beginBarrier(), false);
  assert.equal(await checkpointer.run(session, LIVE), 'locked');
  clearInterval(timer);
  assert.ok(turns > 10, 'the event loop had its turns');
  foreign.exec('ROLLBACK');
  assert.equal(await checkpointer.run(session, LIVE), 'complete');
  await follow(bench);
  assert.deepEqual(wrongPages(bench), []);
});

test('a checkpoint ends early when it is told to', async (t) => {
  const { app, checkpointer, session } = await openBench(t);
  app.insert(5);
  const stop = new AbortController();
  stop.abort();
  assert.equal(await checkpointer.run(session, stop.signal), 'contended');
});

test('what does not fit into memory is flushed before the WAL may restart', async (t) => {
  const bench = await openBench(t);
  const { app, checkpointer, session } = bench;
  app.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
    INSERT INTO t (b) SELECT zeroblob(60000) FROM n`);
  await session.captureNow(ALL);
  assert.ok(session.gatherBytes > 64 * 1024 * 1024);
  assert.equal(await checkpointer.run(session, LIVE), 'complete');
  assert.ok(session.gatherBytes < 64 * 1024 * 1024);
  app.insert(1);
  await follow(bench);
  assert.deepEqual(wrongPages(bench), []);
});

test('commits between the rounds of a checkpoint are captured', async (t) => {
  const bench = await openBench(t);
  const { app, checkpointer, session } = bench;
  let stop = false;
  const write = (): void => {
    if (stop) return;
    app.insert(3, 500);
    setImmediate(write);
  };
  app.insert(3_000, 1_000);
  setImmediate(write);
  const outcome = await checkpointer.run(session, LIVE);
  stop = true;
  assert.ok(outcome === 'complete' || outcome === 'contended');
  await follow(bench);
  assert.deepEqual(wrongPages(bench), []);
});

test('CAP-01 CHK-03 E1 commits that slip in between a capture and the lock are captured under the lock', async (t) => {
  const bench = await openBench(t);
  const { checkpointer, image, path, session } = bench;
  const stop = new SharedArrayBuffer(4);
  // A thread of its own: it commits also while this one runs.
  const writer = new Worker(
    `const { DatabaseSync } = require('node:sqlite');
    const { parentPort, workerData } = require('node:worker_threads');
    const db = new DatabaseSync(workerData.path, { timeout: 10_000 });
    db.exec('PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 0');
    const insert = db.prepare('INSERT INTO t (v) VALUES (?)');
    const stop = new Int32Array(workerData.stop);
    for (let n = 0; Atomics.load(stop, 0) === 0; n++) {
      insert.run('row ' + n);
      if (n === 0) parentPort.postMessage('begun');
    }
    db.close();`,
    { eval: true, workerData: { path, stop } },
  );
  const ended = once(writer, 'exit');
  await once(writer, 'message');
  const outcomes = new Map<string, number>();
  for (let round = 0; round < 60; round++) {
    await session.captureNow(ALL);
    const outcome = await checkpointer.run(session, LIVE);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    for (let next = session.freeze(); next !== undefined; next = session.freeze()) {
      image.apply(next);
    }
    await yieldToLoop();
  }
  Atomics.store(new Int32Array(stop), 0, 1);
  await ended;
  await follow(bench);
  assert.deepEqual(wrongPages(bench), []);
  assert.ok((outcomes.get('complete') ?? 0) > 0);
});

test('E1 another program cannot empty the WAL before it was captured', async (t) => {
  const bench = await openBench(t);
  const { app, checkpointer, foreign, session } = bench;
  const attack = (): void => {
    for (const mode of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const) {
      foreignCheckpoint(foreign, mode);
    }
  };
  for (let round = 0; round < 4; round++) {
    app.insert(20, 500);
    const bytes = app.walBytes();
    attack();
    app.insert(1);
    assert.ok(app.walBytes() >= bytes, 'nothing was emptied, nothing overwritten');
    await follow(bench);
    assert.deepEqual(wrongPages(bench), [], `round ${round}`);
    // From the second round on our reader is on mark 0.
    assert.equal(await checkpointer.run(session, LIVE), 'complete');
    attack();
  }
  app.insert(5);
  await follow(bench);
  assert.deepEqual(wrongPages(bench), []);
});

test('CHK-04 a WAL that was emptied after everything was captured is followed', async (t) => {
  const bench = await openBench(t);
  const { app, checkpointer, live, session } = bench;
  app.insert(50, 500);
  await session.captureNow({ ...ALL, gather: true });
  assert.equal(await checkpointer.run(session, LIVE), 'complete');
  assert.equal(live.truncateWal().busy, false);
  assert.equal(app.walBytes(), 0);
  assert.equal(await checkpointer.run(session, LIVE), 'complete', 'an empty WAL needs none');
  app.insert(5);
  await follow(bench);
  assert.deepEqual(wrongPages(bench), []);
});

test('a commit that SQLite does not know of ends custody', async (t) => {
  const { app, checkpointer, path, session } = await openBench(t);
  app.insert(1);
  await session.captureNow(ALL);
  const at = present(session.capture.position, 'a position');
  // What a writer leaves that died between writing its commit and registering it.
  const frame = new Uint8Array(24 + 4096);
  const view = new DataView(frame.buffer);
  view.setUint32(0, 2);
  view.setUint32(4, session.capture.commit);
  view.setUint32(8, at.salt1);
  view.setUint32(12, at.salt2);
  const pair = checksumPair(at.checksum1 | 0, at.checksum2 | 0);
  walChecksumBytes(frame.subarray(0, 8), false, pair);
  walChecksumBytes(frame.subarray(24), false, pair);
  view.setInt32(16, pair[0] ?? 0);
  view.setInt32(20, pair[1] ?? 0);
  appendFileSync(`${path}-wal`, frame);
  await assert.rejects(checkpointer.run(session, LIVE), ContinuityLost);
});

/** A database whose frames were all moved into its file, none of them captured. */
function movedFrames(t: TestContext): { path: string; app: DatabaseSync; salts: () => string } {
  const path = join(tempDir(t), 'trap.db');
  const app = foreignConnection(t, path);
  app.exec('PRAGMA journal_mode = wal; CREATE TABLE t (v)');
  for (let n = 0; n < 20; n++) app.exec(`INSERT INTO t VALUES (${n})`);
  return {
    path,
    app,
    salts: () => readFileSync(`${path}-wal`).subarray(16, 24).toString('hex'),
  };
}

test('the trap: readers that merely overlap do not keep the WAL (CHK-11)', (t) => {
  const { app, path, salts } = movedFrames(t);
  const begin = (): DatabaseSync => {
    const reader = foreignConnection(t, path);
    reader.exec('BEGIN');
    reader.prepare('SELECT 1 FROM t').get();
    return reader;
  };
  const first = begin();
  assert.deepEqual(foreignCheckpoint(app, 'PASSIVE').busy, 0);
  begin();
  first.exec('ROLLBACK');
  const before = salts();
  app.exec('INSERT INTO t VALUES (99)');
  assert.notEqual(salts(), before, 'the WAL restarted over frames that nobody had copied');
});

test('E1 a reader ends only after a capture behind its successor: the trap catches nothing (CHK-11)', async (t) => {
  const scene = openScene(t, {
    before: (app) => {
      for (let n = 0; n < 20; n++) app.insert(1);
    },
  });
  const { app, foreign, image, live, session } = scene;
  const header = present(session.capture.header(), 'a generation');
  session.capture.startGeneration(header);
  const moved = foreignCheckpoint(foreign, 'PASSIVE');
  assert.equal(moved.checkpointed, moved.log);
  assert.ok(live.beginSuccessor());
  await session.captureNow({ ...ALL, gather: true });
  live.promoteSuccessor();
  session.pin();
  app.insert(1);
  assert.notEqual(session.capture.header()?.salt1, header.salt1, 'the WAL restarted');
  await session.captureNow(ALL);
  image.apply(session.freeze());
  assert.deepEqual(wrongPages(scene), []);
});
