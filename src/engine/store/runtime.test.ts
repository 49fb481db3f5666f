import assert from 'node:assert/strict';
import { existsSync, linkSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { toTxid } from '../../formats/ltx/index.ts';
import { systemClock } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { FaultyClient, MemoryClient, type MemoryStore } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { differences } from '../../../test/support/capture.ts';
import {
  databaseOptions,
  pagesOf,
  type RecordingLogger,
  testPorts,
} from '../../../test/support/engine.ts';
import { imageOfReplica } from '../../../test/support/local-history.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { waitFor } from '../../../test/support/wait.ts';
import type { DatabaseOptions, StoreOptions } from '../options.ts';
import { Store } from './store.ts';

interface Bench {
  readonly store: Store;
  readonly logger: RecordingLogger;
  readonly folder: string;
  /** A database file with one table, and options to register it with, replicated to memory. */
  readonly member: (name: string, overrides?: Partial<DatabaseOptions>) => Member;
}

interface Member {
  readonly path: string;
  readonly app: AppDatabase;
  readonly client: FaultyClient;
  readonly remote: MemoryStore;
  readonly options: DatabaseOptions;
  /** Opens the same replica once more. */
  again(): DatabaseOptions;
}

async function openBench(t: TestContext, overrides: Partial<StoreOptions> = {}): Promise<Bench> {
  const folder = tempDir(t);
  const ports = testPorts();
  const store = new Store(
    {
      databases: [],
      shutdownSyncTimeoutMs: 300,
      shutdownSyncIntervalMs: 50,
      levels: [],
      snapshotIntervalMs: 0,
      snapshotRetentionMs: 0,
      l0RetentionMs: 0,
      l0RetentionCheckIntervalMs: 0,
      retentionEnabled: false,
      verifyCompaction: false,
      monitors: true,
      ...overrides,
    },
    ports,
  );
  t.after(() => store.close());
  await store.open();
  const member: Bench['member'] = (name, more = {}) => {
    const path = join(folder, name);
    const memory = new MemoryClient({ path: `replica-${name}` });
    const client = new FaultyClient(memory);
    const build = (own: FaultyClient): DatabaseOptions =>
      databaseOptions(path, [own], { monitorIntervalMs: 20, ...more });
    return {
      path,
      app: new AppDatabase(t, path),
      client,
      remote: memory.store,
      options: build(client),
      again: () =>
        build(new FaultyClient(new MemoryClient({ path: `replica-${name}`, store: memory.store }))),
    };
  };
  return { store, logger: ports.logger, folder, member };
}

/** Pages that are wrong in the replica of a member. */
function wrongPages({ path, remote, client }: Member): number[] {
  return differences(imageOfReplica(remote, client.location), pagesOf(path));
}

function deadline(ms: number): AbortSignal {
  const abort = new AbortController();
  systemClock.timer(ms, () => {
    abort.abort(new LitestreamError('ERR_TIMEOUT', 'context deadline exceeded'));
  });
  return abort.signal;
}

test('a registered database replicates, and what is known of it is there without waiting', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db');
  assert.equal(await store.register(one.options), true);
  assert.deepEqual(
    store.observe().map(({ path, status }) => [path, status]),
    [[one.path, 'replicating']],
  );
  const { txid, replicatedTxid } = await store.sync(one.path, { wait: true });
  assert.equal(txid, replicatedTxid);
  assert.deepEqual(wrongPages(one), []);
  await waitFor(() => store.observeDatabase(one.path)?.lastSyncAt !== undefined, {
    what: 'the first pass',
  });
  const seen = store.observeDatabase(one.path);
  assert.deepEqual(
    [seen?.txid, seen?.replicatedTxid, seen?.aheadMs, seen?.pendingFiles, seen?.error],
    [txid, txid, 0, 0, undefined],
  );
});

test('a registration again changes nothing, and closes the clients it brought', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db');
  await store.register(one.options);
  const other = member('other.db');
  const closed = t.mock.method(other.client, 'close');
  const again = { ...one.options, replicas: other.options.replicas };
  assert.equal(await store.register(again), false);
  assert.equal(closed.mock.callCount(), 1);
  assert.equal(store.databaseCount, 1);
});

test('a file, a metadata folder and a replica that belong to another database are refused', async (t) => {
  const { store, member, folder } = await openBench(t);
  const one = member('one.db');
  const two = member('two.db');
  await store.register(one.options);
  const refused = async (options: DatabaseOptions, message: RegExp): Promise<void> => {
    await assert.rejects(store.register(options), { code: 'ERR_CONFIG', message });
  };
  const link = join(folder, 'link.db');
  linkSync(one.path, link);
  await refused({ ...two.options, path: link, metaPath: `${link}-meta` }, /are the same file/);
  await refused({ ...two.options, metaPath: one.options.metaPath }, /meta-path collision/);
  await refused(
    { ...two.options, replicas: one.again().replicas },
    /share replica replica-one\.db; give each its own path/,
  );
  const sub = join(folder, 'folder.db');
  mkdirSync(sub);
  await assert.rejects(store.register({ ...two.options, path: sub }), {
    code: 'ERR_DB_INVALID',
    message: `open ${sub}: is a directory`,
  });
  assert.equal(store.databaseCount, 1);
  assert.equal(await store.register(two.again()), true, 'and nothing stays claimed');
});

test('the number of a replaced file may be given to another database', async (t) => {
  const { store, member } = await openBench(t, { monitors: false });
  const one = member('one.db');
  await store.register(one.options);
  const two = member('two.db');
  const three = member('three.db');
  // What two.db was is now one.db, and three.db is what one.db was.
  renameSync(one.path, `${three.path}-old`);
  renameSync(two.path, one.path);
  renameSync(`${three.path}-old`, three.path);
  assert.equal(await store.register(three.options), true);
});

test('CAP-20 stop brings everything into the replica and lets go; start proves continuity anew', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db');
  await store.register(one.options);
  const first = await store.sync(one.path, { wait: true });
  one.app.insert(3);
  const stopped = await store.stop(one.path);
  assert.equal(stopped.changed, true);
  assert.ok(stopped.txid > first.txid);
  assert.deepEqual(wrongPages(one), []);
  assert.equal(store.observeDatabase(one.path)?.status, 'stopped');
  assert.equal(store.observeDatabase(one.path)?.txid, stopped.txid);
  assert.deepEqual(await store.stop(one.path), { changed: false, txid: stopped.txid });
  await assert.rejects(store.sync(one.path, { wait: true }), { code: 'ERR_DB_NOT_OPEN' });
  await assert.rejects(store.wait(one.path), { code: 'ERR_DB_NOT_OPEN' });

  // Nothing of this may be missed: the WAL is emptied while nobody looks.
  one.app.insert(100);
  one.app.checkpoint('TRUNCATE');
  assert.equal(one.app.walBytes(), 0, 'no lock is left on a stopped database');
  one.app.insert(1);
  const started = await store.start(one.path);
  assert.deepEqual(started, { changed: true, txid: stopped.txid });
  assert.deepEqual(await store.start(one.path), { changed: false, txid: stopped.txid });
  await store.sync(one.path, { wait: true });
  assert.deepEqual(wrongPages(one), []);
});

test('OPS-17 a database that is unregistered right after it was registered is backed up', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db', { monitorIntervalMs: 3_600_000 });
  await store.register(one.options);
  const { changed, txid } = await store.unregister(one.path);
  assert.deepEqual([changed, txid], [true, 1n]);
  assert.deepEqual(wrongPages(one), []);
  assert.deepEqual(store.observe(), []);
  assert.deepEqual(await store.unregister(one.path), { changed: false, txid: 0n });
  assert.equal(existsSync(one.options.metaPath), true, 'local files stay');
});

test('a path may be registered again while its former self is being closed', async (t) => {
  const { store, member } = await openBench(t, { shutdownSyncTimeoutMs: 10_000 });
  const one = member('one.db');
  await store.register(one.options);
  await store.sync(one.path, { wait: true });
  one.app.insert();
  one.client.setDown(true);
  const gone = store.unregister(one.path);
  assert.equal(store.has(one.path), false, 'it is off the list at once');
  const again = store.register(one.again());
  await waitFor(() => one.client.count('write') > 1, { what: 'an upload that fails' });
  assert.equal(store.has(one.path), false, 'two objects never have one file');
  one.client.setDown(false);
  assert.equal((await gone).changed, true);
  assert.equal(await again, true);
  await store.sync(one.path, { wait: true });
  assert.deepEqual(wrongPages(one), []);
});

test('a failed last sync is reported, and the database is stopped or gone nevertheless', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db');
  await store.register(one.options);
  await store.sync(one.path, { wait: true });
  one.client.setDown(true);
  one.app.insert();
  await assert.rejects(store.stop(one.path, { timeoutMs: 100 }), {
    code: 'ERR_SHUTDOWN_TIMEOUT',
    message: /^shutdown sync timeout after \d+ attempts: injected fault/,
  });
  assert.equal(store.observeDatabase(one.path)?.status, 'stopped');
  await store.start(one.path);
  await assert.rejects(store.unregister(one.path, { timeoutMs: 0 }), {
    message: /^close db: shutdown sync timeout/,
  });
  assert.equal(store.has(one.path), false);
  one.client.setDown(false);
  await store.register(one.again());
  await store.sync(one.path, { wait: true });
  assert.deepEqual(wrongPages(one), []);
});

test('OPS-22 with a store that hangs, every time-out is kept and what only reports answers', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db');
  for (let n = 0; n < 20; n++) one.client.inject({ operation: 'list', kind: 'hang' });
  await store.register(one.options);
  assert.equal(store.observe().length, 1);
  assert.equal((await store.sync(one.path, { wait: false })).txid, 1n, 'captured all the same');
  await assert.rejects(store.sync(one.path, { wait: true, signal: deadline(50) }), {
    message: 'replica sync: context deadline exceeded',
  });
  await assert.rejects(store.wait(one.path, undefined, deadline(50)), {
    code: 'ERR_TIMEOUT',
    message:
      /^timeout waiting for replication: memory is at an unknown position, waiting for TXID 1/,
  });
  await assert.rejects(store.stop(one.path, { signal: deadline(50) }), { code: 'ERR_TIMEOUT' });
  assert.equal(store.observeDatabase(one.path)?.status, 'stopped');
  await assert.rejects(store.start(one.path, deadline(50)), { code: 'ERR_TIMEOUT' });
});

test('OPS-12 those who wait at the same time share captures and uploads', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db', { monitorIntervalMs: 3_600_000 });
  await store.register(one.options);
  const { txid } = await store.sync(one.path, { wait: true });
  const writes = one.client.count('write');
  const waits = Array.from({ length: 200 }, async (_, n) => {
    one.app.insert();
    const result =
      n % 2 === 0 ? await store.wait(one.path) : await store.sync(one.path, { wait: true });
    assert.ok(result.replicatedTxid >= result.txid);
  });
  await Promise.all(waits);
  assert.deepEqual(wrongPages(one), []);
  assert.ok(one.client.count('write') - writes <= 4, 'a few uploads for two hundred callers');
  assert.ok((await store.position(one.path)) - txid <= 4n);
});

test('waiting is for every replica, and for a TXID that may still come', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db');
  const two = member('two.db');
  await store.register({
    ...one.options,
    replicas: [...one.options.replicas, ...two.options.replicas],
  });
  await store.sync(one.path, { wait: true });
  two.client.setDown(true);
  one.app.insert();
  await assert.rejects(store.wait(one.path, undefined, deadline(200)), {
    message: /waiting for TXID 2: injected fault/,
  });
  await waitFor(() => store.observeDatabase(one.path)?.replicas[0]?.txid === 2n, {
    what: 'the other replica to go on',
  });
  const later = store.wait(one.path, toTxid(3n));
  two.client.setDown(false);
  one.app.insert();
  assert.deepEqual(await later, { txid: 3n, replicatedTxid: 3n });
});

test('a wait is answered for the numbers that hold after a replica turned out to be ahead', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db');
  await store.register(one.options);
  for (let n = 0; n < 5; n++) {
    one.app.insert();
    await store.sync(one.path, { wait: true });
  }
  const before = await store.unregister(one.path);
  rmSync(one.options.metaPath, { recursive: true });
  const options = one.again();
  const [replica] = options.replicas;
  assert.ok(replica?.client instanceof FaultyClient);
  replica.client.setDown(true);
  await store.register(options);
  assert.equal(
    (await store.sync(one.path, { wait: false })).txid,
    1n,
    'captured without the replica',
  );
  const waiting = store.wait(one.path);
  replica.client.setDown(false);
  const { txid, replicatedTxid } = await waiting;
  assert.ok(txid > before.txid && replicatedTxid >= txid, `${txid}`);
  assert.deepEqual(wrongPages(one), []);
});

test('waits end when the database is stopped', async (t) => {
  const { store, member } = await openBench(t);
  const one = member('one.db');
  await store.register(one.options);
  await store.sync(one.path, { wait: true });
  const waiting = store.wait(one.path, toTxid(100n));
  const refused = assert.rejects(waiting, { code: 'ERR_DB_NOT_OPEN' });
  await store.stop(one.path);
  await refused;
});

test('OPS-24 a database whose file is gone is let go without an error', async (t) => {
  const { store, member, logger } = await openBench(t);
  const one = member('one.db');
  await store.register(one.options);
  await store.sync(one.path, { wait: true });
  one.app.close();
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${one.path}${suffix}`, { force: true });
  assert.equal((await store.unregister(one.path)).changed, true);
  assert.deepEqual(logger.messages('error'), []);
});
