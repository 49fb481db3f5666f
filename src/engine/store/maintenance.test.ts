import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatFileName, toTxid } from '../../formats/ltx/index.ts';
import { bytesSource } from '../../storage/index.ts';
import { listAll, ltxLike, MemoryClient } from '../../testing/index.ts';
import { name, nextInterval, ranges, upkeepBench } from '../../../test/support/upkeep-bench.ts';

const HOUR = 3_600_000;

test('levels and a snapshot give the database; nothing temporary stays', async (t) => {
  const b = upkeepBench(t);
  const { maintenance } = b.remotes[0];
  for (let n = 0; n < 4; n++) await b.commit();
  assert.equal(await maintenance.compact(1), 'done');
  nextInterval(b);
  await b.commit();
  assert.equal(await maintenance.compact(1), 'done');
  assert.equal(await maintenance.compact(2), 'done');
  assert.deepEqual(await ranges(b.remotes[0], 1), ['1-4', '5-5']);
  await maintenance.snapshot();
  assert.deepEqual(await ranges(b.remotes[0], 9), ['1-5']);
  await b.converged();
  for (const key of b.remotes[0].store.store.keys()) {
    if (!key.startsWith('ltx/9/')) b.remotes[0].store.store.delete(key);
  }
  await b.converged();
  assert.deepEqual(
    b.local().filter((file) => file.endsWith('.tmp')),
    [],
  );
  assert.deepEqual(b.logger.messages(), []);
});

test('a snapshot is the state at its TXID although the application goes on writing and checkpointing', async (t) => {
  const b = upkeepBench(t);
  await b.commit();
  for (let round = 0; round < 5; round++) {
    const work = b.remotes[0].maintenance.snapshot();
    b.app.insert(20);
    b.app.exec('PRAGMA wal_checkpoint(PASSIVE)');
    const file = await work;
    await b.commit();
    const alone = new MemoryClient();
    const key = name(9, 1, Number(file.maxTxid));
    const object = b.remotes[0].store.store.get(key);
    assert.ok(object !== undefined);
    alone.store.set(key, object);
    await b.converged({ ...b.remotes[0], store: alone }, { txid: file.maxTxid });
    await b.converged();
  }
});

test('CMP-16 once warm, an idle database asks its replica nothing', async (t) => {
  const b = upkeepBench(t);
  const [{ client, maintenance }] = b.remotes;
  for (let n = 0; n < 3; n++) await b.commit();
  for (let round = 0; round < 12; round++) {
    nextInterval(b);
    for (const level of [1, 2]) if (maintenance.hasWork(level)) await maintenance.compact(level);
    if (maintenance.hasWork(9)) await maintenance.scheduledSnapshot(() => false);
    if (maintenance.retention.areSnapshotsDue()) await maintenance.scheduledRetention();
    await maintenance.enforceLevel0();
    if (round === 5) b.logger.records.length = 0;
  }
  const before = client.count();
  for (let round = 0; round < 100; round++) {
    b.clock.move(15_000);
    assert.deepEqual(
      [1, 2, 9].map((level) => maintenance.hasWork(level)),
      [false, false, false],
    );
    assert.equal(maintenance.retention.areSnapshotsDue(), false);
    await maintenance.enforceLevel0();
  }
  assert.equal(client.count(), before);
  assert.deepEqual(await ranges(b.remotes[0], 0), ['3-3']);
  assert.deepEqual(b.local(), [formatFileName(3n, 3n)]);
});

test('CMP-21 a lost file that is still local is uploaded again, and compaction goes on', async (t) => {
  const b = upkeepBench(t);
  for (let n = 0; n < 5; n++) await b.commit();
  b.remotes[0].store.store.delete(name(0, 3));
  assert.equal(await b.remotes[0].maintenance.compact(1), 'done');
  assert.deepEqual((await ranges(b.remotes[0], 0)).length, 5);
  assert.deepEqual(await ranges(b.remotes[0], 1), ['1-2', '3-5']);
  await b.converged();
  assert.deepEqual(b.logger.messages('error'), ['replica has lost files']);
});

test('CMP-21 a lost file that is gone everywhere is bridged by a snapshot, and compaction goes on behind it', async (t) => {
  const b = upkeepBench(t);
  for (let n = 0; n < 5; n++) await b.commit();
  b.remotes[0].store.store.delete(name(0, 3));
  rmSync(b.database.files.pathOf(toTxid(3)));
  assert.equal(await b.remotes[0].maintenance.compact(1), 'done');
  assert.deepEqual(await ranges(b.remotes[0], 9), ['1-5']);
  await b.converged();
  nextInterval(b);
  await b.commit();
  assert.equal(await b.remotes[0].maintenance.compact(1), 'done');
  assert.deepEqual((await ranges(b.remotes[0], 1)).at(-1)?.split('-')[1], '6');
  await b.converged();
  assert.deepEqual(b.logger.messages('error'), ['replica has lost files']);
});

test('a file that is damaged everywhere is bridged by a snapshot', async (t) => {
  const b = upkeepBench(t);
  for (let n = 0; n < 4; n++) await b.commit();
  const object = b.remotes[0].store.store.get(name(0, 2));
  assert.ok(object !== undefined);
  const bytes = object.bytes.slice(0, -20);
  b.remotes[0].store.store.set(name(0, 2), { ...object, bytes });
  writeFileSync(b.database.files.pathOf(toTxid(2)), bytes);
  assert.equal(await b.remotes[0].maintenance.compact(1), 'failed');
  assert.deepEqual(await ranges(b.remotes[0], 9), ['1-4']);
  assert.equal(await b.remotes[0].maintenance.compact(1), 'done');
  nextInterval(b);
  await b.commit();
  assert.equal(await b.remotes[0].maintenance.compact(1), 'done');
  await b.converged();
});

test('CMP-19 a wiped replica becomes restorable again, with its restore points as far as they are local', async (t) => {
  const b = upkeepBench(t);
  const [remote] = b.remotes;
  for (let n = 0; n < 3; n++) await b.commit();
  await remote.maintenance.compact(1);
  await remote.maintenance.snapshot();
  remote.store.store.clear();
  b.clock.move(31_000);
  await b.commit();
  assert.equal(await remote.maintenance.compact(1), 'done');
  assert.deepEqual(await ranges(remote, 9), ['1-4']);
  await b.converged();
  await b.converged(remote, { txid: toTxid(2) });
  assert.ok(b.logger.messages('error').includes('replica has lost files'));
  nextInterval(b);
  await b.commit();
  await remote.maintenance.compact(1);
  await b.converged();
});

test('CMP-13 a listing that is merely late is no loss', async (t) => {
  const b = upkeepBench(t);
  const [{ client, maintenance }] = b.remotes;
  for (let n = 0; n < 2; n++) await b.commit();
  client.hideNewFilesForLists = 1;
  await b.commit();
  client.hideNewFilesForLists = 0;
  await maintenance.compact(1);
  nextInterval(b);
  await b.commit();
  assert.equal(await maintenance.compact(1), 'done');
  assert.ok(!b.logger.messages('error').includes('replica has lost files'));
  assert.deepEqual((await ranges(b.remotes[0], 1)).at(-1)?.split('-')[1], '4');
});

test('a replica that needs files which are gone gets a snapshot and goes on behind it', async (t) => {
  const b = upkeepBench(t, {}, 2);
  const [first, second] = b.remotes;
  assert.ok(second !== undefined);
  for (let n = 0; n < 4; n++) await b.commit([first]);
  for (const txid of [1, 2]) rmSync(b.database.files.pathOf(toTxid(txid)));
  await b.commit();
  assert.deepEqual(await ranges(second, 9), ['1-5']);
  // Nothing leads to 3 and 4.
  assert.deepEqual(await ranges(second, 0), ['5-5']);
  await b.converged(second);
  await b.commit();
  await b.converged(second);
  assert.equal(await second.maintenance.compact(1), 'done');
  await b.converged(second);
  assert.ok(b.logger.messages('warn').includes('local files are gone, writing a snapshot instead'));
});

test('CMP-10 local files stay until no replica needs them', async (t) => {
  const b = upkeepBench(t, {}, 2);
  const [first, second] = b.remotes;
  assert.ok(second !== undefined);
  for (let n = 0; n < 4; n++) await b.commit([first]);
  await first.maintenance.compact(1);
  b.clock.move(HOUR);
  await first.maintenance.enforceLevel0();
  assert.deepEqual(await ranges(first, 0), ['4-4']);
  assert.equal(b.local().length, 4);
  await b.commit();
  for (const { maintenance } of b.remotes) await maintenance.compact(1);
  b.clock.move(HOUR);
  for (const { maintenance } of b.remotes) await maintenance.enforceLevel0();
  assert.deepEqual(b.local(), [formatFileName(5n, 5n)]);
  await b.converged(first);
  await b.converged(second);
});

test('CMP-17 with retention disabled nothing is deleted remotely, and local files go once', async (t) => {
  const b = upkeepBench(t, { retentionEnabled: false });
  const [{ client, maintenance }] = b.remotes;
  for (let n = 0; n < 4; n++) await b.commit();
  await maintenance.compact(1);
  await maintenance.snapshot();
  b.clock.move(48 * HOUR);
  await maintenance.enforceLevel0();
  await maintenance.enforceRetention();
  await b.commit();
  await maintenance.compact(1);
  b.clock.move(48 * HOUR);
  for (let round = 0; round < 3; round++) await maintenance.enforceLevel0();
  assert.equal(client.count('delete'), 0);
  assert.equal((await ranges(b.remotes[0], 0)).length, 5);
  assert.deepEqual(b.local(), [formatFileName(5n, 5n)]);
  const lines = b.logger.records.filter(({ message }) => message === 'l0 retention enforced');
  assert.deepEqual(
    lines.map(({ attributes }) => attributes['deleted_count']),
    [3, 1],
  );
});

test('CMP-18 CMP-11 expired snapshots go, with what only they needed; a deletion that fails is done by the next pass', async (t) => {
  const b = upkeepBench(t);
  const [remote] = b.remotes;
  const { client, maintenance } = remote;
  for (let day = 0; day < 4; day++) {
    await b.commit();
    await maintenance.compact(1);
    nextInterval(b);
    await b.commit();
    await maintenance.compact(1);
    await maintenance.snapshot();
    // Not to the millisecond: the newest one has to be older than the window, or the one before it is needed.
    b.clock.move(24 * HOUR + 60_000);
  }
  client.inject({ operation: 'delete', kind: 'before', nth: 2 });
  await maintenance.scheduledRetention();
  assert.deepEqual(b.logger.messages(), ['retention enforcement failed']);
  assert.equal(maintenance.retention.areSnapshotsDue(), true);
  await maintenance.scheduledRetention();
  assert.deepEqual(await ranges(remote, 9), ['1-8']);
  assert.deepEqual(await ranges(remote, 1), ['6-6', '7-7', '8-8']);
  await b.converged();
});

test('CMP-07 a full disk or a dead store fails one pass and leaves nothing behind', async (t) => {
  const b = upkeepBench(t);
  const [{ client, maintenance }] = b.remotes;
  b.app.insert(2000, 2000);
  await b.commit();
  for (const label of ['spool:open', 'spool:write']) {
    b.fileSystem.fail('ENOSPC', { label });
    assert.equal(await maintenance.compact(1), 'failed');
    b.fileSystem.fail('ENOSPC', { label });
    await assert.rejects(maintenance.snapshot(), { code: 'ERR_DISK_FULL' });
  }
  client.setDown(true);
  assert.equal(await maintenance.compact(1), 'failed');
  await assert.rejects(maintenance.snapshot());
  client.setDown(false);
  const { path } = maintenance.database.options;
  assert.equal(b.metrics.get('litestream_upkeep_error_count', { db: path }), 3);
  assert.deepEqual(b.local(), [formatFileName(1n, 1n)]);
  assert.equal(await maintenance.compact(1), 'done');
  await maintenance.snapshot();
  assert.deepEqual(b.local(), [formatFileName(1n, 1n)]);
  await b.converged();
});

test('E10 files of another writer behind our position are neither merged nor deleted', async (t) => {
  const { app, clock, commit, database, remotes } = upkeepBench(t);
  const [{ maintenance, store }] = remotes;
  await commit();
  await commit();
  const position = database.txid;
  app.insert(1);
  const next = await database.sync();
  for (let txid = next; txid < next + 3n; txid = toTxid(txid + 1n)) {
    const foreign = ltxLike(300, clock.now(), Number(txid));
    await store.write({ level: 0, minTxid: txid, maxTxid: txid }, bytesSource(foreign));
  }
  clock.move(HOUR);
  assert.equal(await maintenance.compact(1), 'done');
  await maintenance.enforceLevel0();
  const level1 = await listAll(store, 1);
  assert.equal(level1.at(-1)?.maxTxid, position);
  await assert.rejects(database.syncReplica(maintenance.replica, next), {
    code: 'ERR_WRITER_CONFLICT',
  });
  assert.deepEqual(
    (await listAll(store, 0)).slice(-3).map(({ maxTxid }) => maxTxid - next),
    [0n, 1n, 2n],
  );
});

test('OPS-19 no snapshot is written where the number it stands for is another writer’s by now', async (t) => {
  const { clock, commit, database, remotes } = upkeepBench(t);
  const [{ maintenance, store }] = remotes;
  await commit();
  await commit();
  const maxTxid = database.txid;
  store.store.clear();
  const foreign = bytesSource(ltxLike(300, clock.now(), 7));
  await store.write({ level: 0, minTxid: maxTxid, maxTxid }, foreign);
  await assert.rejects(maintenance.snapshot(), { code: 'ERR_WRITER_CONFLICT' });
  assert.deepEqual(await listAll(store, 9), []);
  assert.equal(maintenance.isReady, false, 'nothing is written or deleted any more');
});

test('OPS-19 level 0 keeps what was uploaded a moment ago, however old the transactions are', async (t) => {
  const { app, clock, commit, database, remotes } = upkeepBench(t);
  const [remote] = remotes;
  const { replica } = remote.maintenance;
  await commit();
  await remote.maintenance.compact(1);
  for (let n = 0; n < 3; n++) {
    app.insert(1);
    await database.sync();
  }
  clock.move(HOUR);
  await database.syncReplica(replica, database.txid);
  await remote.maintenance.compact(1);
  await remote.maintenance.enforceLevel0();
  assert.equal((await ranges(remote, 0)).length, 3);
  clock.move(HOUR);
  await remote.maintenance.enforceLevel0();
  assert.equal((await ranges(remote, 0)).length, 1);
});
