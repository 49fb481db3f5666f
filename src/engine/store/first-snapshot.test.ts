import assert from 'node:assert/strict';
import { rmSync, readFileSync, writeFileSync } from 'node:fs';
import { test, type TestContext } from 'node:test';
import { toTxid } from '../../formats/ltx/index.ts';
import { listAll } from '../../testing/index.ts';
import type { WriteSource } from '../../storage/index.ts';
import {
  name,
  nextInterval,
  ranges,
  upkeepBench,
  type UpkeepBench,
} from '../../../test/support/upkeep-bench.ts';

const HOUR = 3_600_000;
const LEVELS = [
  { level: 1, intervalMs: 30_000 },
  { level: 2, intervalMs: 300_000 },
  { level: 3, intervalMs: HOUR },
];

interface LargeBench extends UpkeepBench {
  /** Bytes that were stored so far. */
  readonly uploaded: () => number;
  /** Those of level 0. */
  readonly captured: () => number;
}

/** A database that counts as large, with its first file uploaded. */
async function large(t: TestContext, wholeFileBytesMin: number = 10_000): Promise<LargeBench> {
  const b = upkeepBench(t, { levels: LEVELS, wholeFileBytesMin, l0RetentionMs: 3 * HOUR });
  const { client } = b.remotes[0];
  const write = client.write.bind(client);
  let [uploaded, captured] = [0, 0];
  client.write = (key, source: WriteSource, options) => {
    uploaded += source.size;
    if (key.level === 0) captured += source.size;
    return write(key, source, options);
  };
  b.app.insert(400, 200);
  await b.commit();
  return {
    ...b,
    uploaded: () => uploaded,
    captured: () => captured,
  };
}

/** Until level 3 has a file, with a few commits in between. */
async function fillLevels(b: UpkeepBench): Promise<void> {
  const { maintenance } = b.remotes[0];
  for (let n = 0; n < 3; n++) {
    await b.commit();
    await b.commit();
    b.clock.pass(n === 2 ? HOUR : 300_000);
    for (const { level } of LEVELS) assert.equal(await maintenance.compact(level), 'done');
  }
}

test('CMP-06 no level repeats the whole database, and every point can be restored', async (t) => {
  const b = await large(t);
  const { maintenance, store } = b.remotes[0];
  assert.equal(await maintenance.scheduledSnapshot(() => false), 'done');
  const [first, copy] = [store.store.get(name(0, 1)), store.store.get(name(9, 1))];
  assert.ok(first !== undefined && copy !== undefined);
  assert.deepEqual(copy, first, 'the same bytes, of the same time');
  assert.equal(maintenance.hasWork(1), false, 'nothing is asked for an idle database');
  await fillLevels(b);
  for (const { level } of LEVELS) {
    const [file] = await listAll(store, level);
    assert.equal(file?.minTxid, 2n, `level ${level}`);
  }
  const captured = b.captured();
  assert.ok(b.uploaded() < captured + first.bytes.length + 3 * (captured - first.bytes.length));
  for (let txid = 1n; txid <= b.database.txid; txid++) {
    await b.converged(b.remotes[0], { txid: toTxid(txid) });
  }
  await b.converged();
  assert.deepEqual(b.logger.messages(), []);
});

test('CMP-06 level 0 loses the first file once the snapshot is listed, and so does the local folder', async (t) => {
  const b = await large(t);
  const { maintenance, store } = b.remotes[0];
  await maintenance.scheduledSnapshot(() => false);
  await fillLevels(b);
  const snapshot = store.store.get(name(9, 1));
  assert.ok(snapshot !== undefined);
  store.store.delete(name(9, 1));
  await maintenance.enforceLevel0();
  assert.equal((await ranges(b.remotes[0], 0))[0], '1-1', 'nothing else holds it');
  store.store.set(name(9, 1), snapshot);
  await b.commit();
  b.clock.pass(4 * HOUR);
  await maintenance.compact(1);
  await maintenance.enforceLevel0();
  assert.deepEqual(await ranges(b.remotes[0], 0), ['8-8']);
  assert.equal(b.local().length, 1);
  await b.converged();
  await b.converged(b.remotes[0], { txid: (await listAll(store, 1))[0]?.maxTxid });
});

test('CMP-06 the next snapshots and retention go on as ever', async (t) => {
  const b = await large(t);
  const { maintenance } = b.remotes[0];
  await maintenance.scheduledSnapshot(() => false);
  await fillLevels(b);
  for (let day = 0; day < 3; day++) {
    await b.commit();
    b.clock.pass(25 * HOUR);
    assert.equal(await maintenance.scheduledSnapshot(() => false), 'done');
    for (const { level } of LEVELS) await maintenance.compact(level);
    await maintenance.enforceRetention();
    await maintenance.enforceLevel0();
    await b.converged();
  }
  const snapshots = await ranges(b.remotes[0], 9);
  assert.ok(!snapshots.includes('1-1'), 'the first one has expired');
  for (const { level } of LEVELS) {
    const [file] = await listAll(b.remotes[0].store, level);
    assert.ok(file !== undefined && file.minTxid > 7n, `level ${level} has shrunk`);
  }
  assert.deepEqual(b.logger.messages(), []);
});

test('CMP-06 a small database keeps levels that can be restored alone', async (t) => {
  const b = await large(t, 10_000_000);
  const { maintenance, store } = b.remotes[0];
  await maintenance.scheduledSnapshot(() => false);
  await fillLevels(b);
  for (const { level } of LEVELS) {
    const [file] = await listAll(store, level);
    assert.equal(file?.minTxid, 1n, `level ${level}`);
  }
});

test('CMP-06 a first file that is not there any more, or damaged, is no snapshot; one is written', async (t) => {
  for (const harm of ['gone', 'damaged'] as const) {
    const b = await large(t);
    const { maintenance } = b.remotes[0];
    await b.commit();
    const path = b.database.files.pathOf(toTxid(1));
    if (harm === 'gone') rmSync(path);
    else writeFileSync(path, readFileSync(path).fill(0x5a, 5000, 5100));
    assert.equal(await maintenance.scheduledSnapshot(() => false), 'done');
    assert.deepEqual(await ranges(b.remotes[0], 9), ['1-2']);
    await maintenance.compact(1);
    nextInterval(b);
    assert.deepEqual(await ranges(b.remotes[0], 1), ['1-2']);
    await b.converged();
  }
});

test('CMP-06 a large file that begins a level is not repeated above it once a snapshot holds it', async (t) => {
  const b = await large(t);
  const { maintenance, store } = b.remotes[0];
  await b.commit();
  assert.equal(await maintenance.compact(1), 'done');
  assert.deepEqual(await ranges(b.remotes[0], 1), ['1-2'], 'without a snapshot');
  await maintenance.snapshot();
  assert.equal(maintenance.hasWork(2), false);
  await fillLevels(b);
  assert.equal((await listAll(store, 2))[0]?.minTxid, 3n);
  assert.equal((await listAll(store, 3))[0]?.minTxid, 3n);
  await b.converged();
});

test('a repair uploads what a restore gets to, and the last number, nothing behind a gap', async (t) => {
  const b = upkeepBench(t);
  const { maintenance, store } = b.remotes[0];
  for (let n = 0; n < 6; n++) await b.commit();
  await maintenance.snapshot();
  await b.database.files.remove([toTxid(3)]);
  for (const txid of [2, 3, 4, 5, 6]) store.store.delete(name(0, txid));
  store.store.delete(name(9, 1, 6));
  await maintenance.enforceRetention();
  assert.deepEqual(await ranges(b.remotes[0], 0), ['1-1', '2-2', '6-6']);
  assert.deepEqual(await ranges(b.remotes[0], 9), ['1-6']);
  await b.converged();
});
