import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import {
  encodeLtxFile,
  LTX_NO_CHECKSUM,
  NO_TXID,
  toTxid,
  type LtxHeader,
  type Txid,
} from '../../formats/ltx/index.ts';
import { bytesSource, type FileInfo } from '../../storage/index.ts';
import {
  FakeClock,
  FaultyClient,
  fileKey,
  listAll,
  ltxLike,
  MemoryClient,
} from '../../testing/index.ts';
import {
  localFiles,
  replicaOptions,
  type RecordingLogger,
  testPorts,
} from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import type { LocalFiles } from '../db/local-files.ts';
import type { ReplicaOptions } from '../options.ts';
import { findHoles, Replica, type ReplicaHistory } from './replica.ts';

interface Bench {
  readonly replica: Replica;
  readonly client: FaultyClient;
  readonly store: MemoryClient;
  readonly files: LocalFiles;
  readonly clock: FakeClock;
  readonly logger: RecordingLogger;
  /** TXIDs in level 0 of the store. */
  readonly remote: () => Promise<bigint[]>;
  /** Makes local files up to `last`. */
  readonly write: (last: number) => void;
  /** What a database does that trusts the replica's history. */
  readonly reconcile: (history: ReplicaHistory) => Promise<void>;
}

async function openBench(
  t: TestContext,
  last: number,
  options: Partial<ReplicaOptions> = {},
): Promise<Bench> {
  const path = join(tempDir(t), 'app.db');
  writeFileSync(path, '');
  const files = await localFiles(path);
  await files.makeFolder();
  const store = new MemoryClient();
  const client = new FaultyClient(store);
  const clock = new FakeClock();
  const ports = testPorts({ clock });
  const replica = new Replica(replicaOptions(client, options), files, ports.logger, ports);
  let written = 0;
  const write = (to: number): void => {
    while (written < to) {
      written++;
      writeFileSync(files.pathOf(toTxid(written)), ltxLike(300, 1_000 * written, written));
    }
  };
  write(last);
  t.after(() => replica.stop());
  return {
    replica,
    client,
    store,
    files,
    clock,
    logger: ports.logger,
    remote: async () => (await listAll(store, 0)).map(({ maxTxid }) => maxTxid),
    write,
    reconcile: async (history) => {
      replica.begin(history.lastTxid, findHoles(history, await files.list()));
    },
  };
}

/** Lets real file work and the clock's timers go on until something is true. */
async function until(clock: FakeClock, done: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!done()) {
    assert.ok(performance.now() < end, 'it never happened');
    await clock.settle();
  }
}

/** Numbers of the calls of `write`, in order, as the log tells them. */
function uploads(logger: RecordingLogger): unknown[] {
  return logger.records
    .filter(({ message }) => message === 'ltx file uploaded')
    .map(({ attributes }) => attributes['minTXID']);
}

test('E5 files go up in order, and the position follows', async (t) => {
  const { replica, reconcile, logger, remote } = await openBench(t, 12);
  assert.equal(replica.position, undefined);
  await replica.sync(toTxid(12), reconcile);
  assert.equal(replica.position, 12n);
  assert.deepEqual(
    uploads(logger),
    Array.from({ length: 12 }, (_, n) => BigInt(n + 1)),
  );
  assert.equal((await remote()).length, 12);
});

test('E5 nothing is uploaded twice, and nothing behind the target', async (t) => {
  const { replica, reconcile, client } = await openBench(t, 5);
  await replica.sync(toTxid(3), reconcile);
  assert.equal(replica.position, 3n);
  assert.equal(client.count('write'), 3);
  await replica.sync(toTxid(3), reconcile);
  await replica.sync(toTxid(2), reconcile);
  assert.equal(client.count('write'), 3);
  await replica.sync(toTxid(5), reconcile);
  assert.equal(client.count('write'), 5);
});

test('uploads go on behind what the replica has', async (t) => {
  const { replica, reconcile, store, logger } = await openBench(t, 6);
  await store.write(fileKey(9, 1, 4), bytesSource(ltxLike(500)));
  await replica.sync(toTxid(6), reconcile);
  assert.deepEqual(uploads(logger), [5n, 6n]);
});

test('lost objects below the newest one are uploaded again, first', async (t) => {
  const { replica, reconcile, store, logger, remote } = await openBench(t, 8);
  await store.write(fileKey(1, 1, 2), bytesSource(ltxLike(500)));
  for (const txid of [3, 6]) await store.write(fileKey(0, txid), bytesSource(ltxLike(300)));
  await replica.sync(toTxid(8), reconcile);
  assert.deepEqual(uploads(logger), [4n, 5n, 7n, 8n]);
  assert.deepEqual(await remote(), [3n, 4n, 5n, 6n, 7n, 8n]);
});

test('a hole whose file is gone here, too, does not stop the uploads', async (t) => {
  const { replica, reconcile, store, files, remote } = await openBench(t, 5);
  await store.write(fileKey(0, 4), bytesSource(ltxLike(300)));
  const history = await replica.history();
  await reconcile(history);
  rmSync(files.pathOf(toTxid(2)));
  await replica.sync(toTxid(5), reconcile);
  assert.deepEqual(await remote(), [1n, 3n, 4n, 5n]);
});

test('holes are what is local, above the compacted levels, below the newest, and not there', () => {
  const history: ReplicaHistory = {
    lastTxid: toTxid(9),
    lastCompacted: toTxid(3),
    level0: [toTxid(4), toTxid(6), toTxid(9)],
    newest: new Map(),
    waiting: new Map(),
  };
  const local = [1, 2, 3, 4, 5, 7, 9, 10].map((txid) => toTxid(txid));
  assert.deepEqual(findHoles(history, local), [5n, 7n]);
  assert.deepEqual(findHoles({ ...history, lastTxid: NO_TXID, level0: [] }, local), []);
});

for (const kind of ['before', 'partial', 'after'] as const) {
  test(`E5 a failure (${kind}) leaves the position behind the last acknowledged file`, async (t) => {
    const { replica, reconcile, client, remote } = await openBench(t, 6);
    client.inject({ operation: 'write', kind, nth: 4, amount: 100 });
    await assert.rejects(replica.sync(toTxid(6), reconcile), { code: 'ERR_STORAGE_TEMPORARY' });
    assert.equal(replica.position, 3n);
    assert.equal((await remote()).length, kind === 'after' ? 4 : 3);
    await replica.sync(toTxid(6), reconcile);
    assert.equal(replica.position, 6n);
    assert.deepEqual(await remote(), [1n, 2n, 3n, 4n, 5n, 6n]);
  });
}

test('OPS-19 a file of another writer is never replaced, and ends the uploads', async (t) => {
  const { replica, reconcile, store, client } = await openBench(t, 4);
  await replica.sync(toTxid(2), reconcile);
  const theirs = ltxLike(700, 5_000, 99);
  await store.write(fileKey(0, 3), bytesSource(theirs));
  await assert.rejects(replica.sync(toTxid(4), reconcile), { code: 'ERR_WRITER_CONFLICT' });
  assert.equal(replica.position, 2n);
  const writes = client.count('write');
  await assert.rejects(replica.sync(toTxid(4), reconcile), { code: 'ERR_WRITER_CONFLICT' });
  assert.equal(client.count('write'), writes, 'nothing is tried again');
  const [, , third] = await listAll(store, 0);
  assert.equal(third?.size, theirs.length);
});

test('a history that was taken over is watched before it is continued', async (t) => {
  const { replica, store, clock, remote } = await openBench(t, 4);
  await store.write(fileKey(0, 2), bytesSource(ltxLike(300)));
  await replica.history();
  replica.begin(toTxid(2), [], true);
  const synced = replica.sync(toTxid(4), () => Promise.resolve());
  const refused = assert.rejects(synced, { code: 'ERR_WRITER_CONFLICT' });
  await until(clock, () => clock.pending > 0);
  await store.write(fileKey(0, 3), bytesSource(ltxLike(999)));
  await clock.advance(60_000);
  await refused;
  assert.deepEqual(await remote(), [2n, 3n], 'nothing of ours');
});

test('a history that nobody continues is ours', async (t) => {
  const { replica, store, clock } = await openBench(t, 4);
  await store.write(fileKey(0, 2), bytesSource(ltxLike(300)));
  replica.begin(toTxid(2), [], true);
  const synced = replica.sync(toTxid(4), () => Promise.resolve());
  await until(clock, () => clock.pending > 0);
  await clock.advance(60_000);
  await synced;
  assert.equal(replica.position, 4n);
});

test('the loop uploads what is announced', async (t) => {
  const { replica, reconcile, clock, write } = await openBench(t, 2);
  replica.notify(toTxid(2));
  replica.start(reconcile);
  await until(clock, () => replica.position === 2n);
  write(3);
  replica.notify(toTxid(3));
  await until(clock, () => replica.position === 3n);
  assert.ok((replica.lastSyncAt ?? 0) > 0);
});

test('the loop uploads a backlog in batches, without waiting between them', async (t) => {
  const { replica, reconcile, clock, logger } = await openBench(t, 7, { maxSyncLtxFiles: 3 });
  replica.notify(toTxid(7));
  replica.start(reconcile);
  await until(clock, () => replica.position === 7n);
  const limited = logger.records.filter(({ message }) => message === 'replica sync limited');
  assert.deepEqual(
    limited.map(({ attributes }) => [attributes['synced_files'], attributes['replica_txid']]),
    [
      [3, 3n],
      [3, 6n],
    ],
  );
  assert.equal(clock.monotonic(), 0, 'no time has passed');
});

test('a sync on demand knows no batches', async (t) => {
  const { replica, reconcile } = await openBench(t, 7, { maxSyncLtxFiles: 3 });
  await replica.sync(toTxid(7), reconcile);
  assert.equal(replica.position, 7n);
});

test('an interval that the user set lies between two batches', async (t) => {
  const { replica, reconcile, clock, write } = await openBench(t, 1, {
    syncIntervalMs: 10_000,
    syncIntervalExplicit: true,
  });
  replica.notify(toTxid(1));
  replica.start(reconcile);
  await until(clock, () => replica.position === 1n && clock.pending > 0);
  await clock.advance(1_000);
  write(2);
  replica.notify(toTxid(2));
  await clock.settle(50);
  assert.equal(replica.position, 1n);
  await clock.advance(8_999);
  assert.equal(replica.position, 1n);
  await clock.advance(1);
  await until(clock, () => replica.position === 2n);
});

test('the loop waits longer after each failure, says so sparingly, and recovers by itself', async (t) => {
  const { replica, reconcile, clock, client, logger } = await openBench(t, 3);
  client.setDown(true);
  replica.notify(toTxid(3));
  replica.start(reconcile);
  // The bound of a look at the replica is a timer, too.
  const backingOff = (): boolean => (clock.nextTimerIn ?? Infinity) < 120_000;
  const attempts: number[] = [];
  for (let n = 0; n < 6; n++) {
    await until(clock, backingOff);
    attempts.push(clock.nextTimerIn ?? 0);
    await clock.advance(clock.nextTimerIn ?? 0);
  }
  assert.deepEqual(attempts, [1000, 2000, 4000, 8000, 16_000, 32_000]);
  assert.ok(logger.messages('error').length <= 4);
  client.setDown(false);
  await until(clock, backingOff);
  await clock.advance(64_000);
  await until(clock, () => replica.position === 3n);
  assert.ok(logger.messages('info').includes('replica sync recovered'));
});

test('a history that could not be read is read again', async (t) => {
  const { replica, client } = await openBench(t, 1);
  client.inject({ operation: 'list', kind: 'after', nth: 3 });
  await assert.rejects(replica.history(), { code: 'ERR_STORAGE_TEMPORARY' });
  assert.equal(replica.knownHistory, undefined);
  assert.equal((await replica.history()).lastTxid, 0n);
  const lists = client.count('list');
  await replica.history();
  assert.equal(client.count('list'), lists, 'a known history is not asked for again');
  replica.forget();
  await replica.history();
  assert.ok(client.count('list') > lists);
});

test('stop ends an upload that hangs, quietly', async (t) => {
  const { replica, reconcile, clock, client, logger } = await openBench(t, 1);
  client.inject({ operation: 'write', kind: 'hang' });
  replica.notify(toTxid(1));
  replica.start(reconcile);
  await until(clock, () => client.count('write') === 1);
  await replica.stop();
  assert.equal(replica.position, 0n);
  assert.deepEqual(logger.messages(), []);
});

test('a signal ends a sync that hangs', async (t) => {
  const { replica, reconcile, clock, client } = await openBench(t, 1);
  client.inject({ operation: 'write', kind: 'hang' });
  const stop = new AbortController();
  const synced = replica.sync(toTxid(1), reconcile, stop.signal);
  const refused = assert.rejects(synced, { code: 'ERR_ABORTED' });
  await until(clock, () => client.count('write') === 1);
  stop.abort();
  await refused;
});

test('a local file that is gone before it was uploaded is an error without a bridge', async (t) => {
  const { replica, reconcile, files, remote } = await openBench(t, 3);
  rmSync(files.pathOf(toTxid(2)));
  await assert.rejects(replica.sync(toTxid(3), reconcile), { code: 'ERR_LTX_MISSING' });
  assert.equal(replica.position, 1n);
  assert.deepEqual(await remote(), [1n]);
});

/** Stores a snapshot up to `txid`, as upkeep does it. */
function bridgeTo(replica: Replica, txid: number): Promise<FileInfo> {
  const key = fileKey(9, 1, txid);
  return replica.skipTo(toTxid(txid), { key, source: bytesSource(ltxLike(900)) });
}

test('a bridge over a file that is gone takes the position along, and level 0 goes on there', async (t) => {
  const { replica, reconcile, files, remote } = await openBench(t, 6);
  rmSync(files.pathOf(toTxid(2)));
  const asked: Txid[] = [];
  replica.setBridge(async ({ txid }) => {
    asked.push(txid);
    const need = await replica.reach(toTxid(4));
    assert.deepEqual([need?.txid, need?.why, replica.position], [2n, 'files are gone', 1n]);
    await bridgeTo(replica, 4);
  });
  await replica.sync(toTxid(6), reconcile);
  assert.deepEqual(asked, [2n]);
  assert.equal(replica.position, 6n);
  // Nothing leads to 3.
  assert.deepEqual(await remote(), [1n, 4n, 5n, 6n]);
  assert.equal(replica.level0From, 4n);
});

test('OPS-19 nothing is bridged where another writer has gone on behind the position', async (t) => {
  for (const level of [0, 1, 9]) {
    const { replica, reconcile, files, store } = await openBench(t, 6);
    rmSync(files.pathOf(toTxid(2)));
    replica.setBridge(async () => {
      const theirs = fileKey(level, level === 0 ? 3 : 1, 3);
      await store.write(theirs, bytesSource(ltxLike(700, 5_000, 99)));
      await bridgeTo(replica, 6);
    });
    await assert.rejects(replica.sync(toTxid(6), reconcile), { code: 'ERR_WRITER_CONFLICT' });
    assert.equal(replica.hasConflict, true);
    assert.equal(replica.position, 1n);
    assert.ok(!(await listAll(store, 9)).some(({ maxTxid }) => maxTxid === 6n), 'no snapshot');
  }
});

test('OPS-19 a snapshot goes again if the number it stands for was used meanwhile', async (t) => {
  const { replica, reconcile, files, store, client } = await openBench(t, 6);
  rmSync(files.pathOf(toTxid(2)));
  replica.setBridge(async () => {
    const write = client.write.bind(client);
    client.write = async (key, ...rest) => {
      const file = await write(key, ...rest);
      if (key.level === 9) await store.write(fileKey(0, 6), bytesSource(ltxLike(700, 5_000, 99)));
      return file;
    };
    await bridgeTo(replica, 6);
  });
  await assert.rejects(replica.sync(toTxid(6), reconcile), { code: 'ERR_WRITER_CONFLICT' });
  assert.deepEqual(await listAll(store, 9), []);
});

test('OPS-19 after a pause the first upload looks for another writer whose files are gone but for the newest', async (t) => {
  const { replica, reconcile, clock, store, client } = await openBench(t, 4);
  await replica.sync(toTxid(2), reconcile);
  const lists = client.count('list');
  await replica.sync(toTxid(3), reconcile);
  assert.equal(client.count('list'), lists, 'an upload a moment ago is proof enough');
  await clock.advance(600_000);
  await store.write(fileKey(0, 9), bytesSource(ltxLike(300)));
  await assert.rejects(replica.sync(toTxid(4), reconcile), { code: 'ERR_WRITER_CONFLICT' });
  assert.equal(replica.position, 3n);
});

test('a bridge that leads nowhere is given up', async (t) => {
  const { replica, reconcile, files } = await openBench(t, 3);
  rmSync(files.pathOf(toTxid(2)));
  let asked = 0;
  replica.setBridge(() => {
    asked++;
    return Promise.resolve();
  });
  await assert.rejects(replica.sync(toTxid(3), reconcile), { code: 'ERR_LTX_MISSING' });
  assert.equal(asked, 1);
});

/** A file with one page, which may hold transactions before its last one. */
function onePage(txid: number, pageSize: number, { first = txid, later = 0 } = {}): Uint8Array {
  const header: LtxHeader = {
    flags: LTX_NO_CHECKSUM,
    pageSize,
    commit: 1,
    minTxid: toTxid(first),
    maxTxid: toTxid(txid),
    timestampMs: 1_735_689_600_000 + txid + later,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  return encodeLtxFile({ header, pages: [{ pgno: 1, data: new Uint8Array(pageSize) }] });
}

for (const [whose, shares, bytes] of [
  ['another writer', false, onePage(4, 1024, { later: 1 })],
  ['another writer with pages of another size', false, onePage(4, 512)],
  ['nobody who can be told', false, ltxLike(300)],
  ['this database', true, onePage(4, 1024)],
] as const) {
  test(`OPS-19 local files 2 to 4 are one, and number 4 of the replica is of ${whose}`, async (t) => {
    const { replica, files, store } = await openBench(t, 5);
    const range = { minTxid: toTxid(2), maxTxid: toTxid(4) };
    const merged = bytesSource(onePage(4, 1024, { first: 2 }));
    await files.merge(range, merged, [toTxid(2), toTxid(3), toTxid(4)]);
    for await (const piece of (await files.source(toTxid(1))).stream())
      await store.write(fileKey(0, 1), bytesSource(piece));
    await store.write(fileKey(0, 4), bytesSource(bytes));
    const continues = await replica.continues(await replica.history(), await files.list());
    assert.equal(continues, shares);
  });
}

for (const there of ['here', 'in the replica only', 'gone'] as const) {
  test(`W-26 a file with pages of another size is uploaded after its snapshot; the one before it is ${there}`, async (t) => {
    const { replica, reconcile, files, logger, store } = await openBench(t, 4);
    for (const txid of [2, 3]) {
      writeFileSync(files.pathOf(toTxid(txid)), onePage(txid, txid === 3 ? 512 : 1024));
    }
    await store.write(fileKey(0, 2), bytesSource(onePage(2, 1024)));
    await reconcile(await replica.history());
    if (there !== 'here') rmSync(files.pathOf(toTxid(2)));
    if (there === 'gone') await store.delete([fileKey(0, 2)]);
    const asked: unknown[] = [];
    replica.setBridge(async ({ txid, why }) => {
      asked.push([txid, why]);
      await bridgeTo(replica, Number(txid));
    });
    await replica.sync(toTxid(3), reconcile);
    assert.deepEqual(asked, there === 'gone' ? [] : [[3n, 'page size changed']]);
    assert.equal((await listAll(store, 9)).length, asked.length);
    assert.equal(uploads(logger).at(-1), 3n);
  });
}

test('stop ends a first contact that hangs, whoever began it', async (t) => {
  const { replica, reconcile, clock, client } = await openBench(t, 1);
  client.inject({ operation: 'list', kind: 'hang' });
  const contact = assert.rejects(replica.history(), { code: 'ERR_ABORTED' });
  replica.start(reconcile);
  await until(clock, () => client.count('list') === 1);
  await replica.stop();
  await contact;
});

test('a signal ends the wait of one caller, not the contact of another', async (t) => {
  const { replica, reconcile, clock, client } = await openBench(t, 1);
  client.inject({ operation: 'list', kind: 'hang' });
  const impatient = new AbortController();
  const first = assert.rejects(replica.history(impatient.signal), { code: 'ERR_ABORTED' });
  let answered = false;
  const second = replica.history().then(
    () => assert.fail('it hangs'),
    () => (answered = true),
  );
  await until(clock, () => client.count('list') === 1);
  impatient.abort();
  await first;
  await clock.settle();
  assert.equal(answered, false);
  await replica.stop();
  await second;
  await replica.sync(toTxid(1), reconcile);
  assert.equal(replica.position, 1n, 'a last sync looks again');
});
