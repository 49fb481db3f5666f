import assert from 'node:assert/strict';
import { existsSync, linkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { sleep, systemClock } from '../../lib/clock.ts';
import type { LitestreamError } from '../../lib/errors.ts';
import { FakeClock, FaultyClient, MemoryClient, type MemoryStore } from '../../testing/index.ts';
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
import type { DatabaseOptions, StoreOptions } from '../options.ts';
import { Store } from './store.ts';

function storeOptions(
  databases: readonly DatabaseOptions[],
  overrides: Partial<StoreOptions> = {},
): StoreOptions {
  return {
    databases,
    shutdownSyncTimeoutMs: 0,
    shutdownSyncIntervalMs: 500,
    levels: [],
    snapshotIntervalMs: 0,
    snapshotRetentionMs: 0,
    l0RetentionMs: 0,
    l0RetentionCheckIntervalMs: 0,
    retentionEnabled: false,
    verifyCompaction: false,
    monitors: false,
    ...overrides,
  };
}

interface Member {
  readonly path: string;
  readonly app: AppDatabase;
  readonly client: FaultyClient;
  readonly remote: MemoryStore;
}

/** Databases with one replica each. */
function members(t: TestContext, count: number): Member[] {
  const folder = tempDir(t);
  return Array.from({ length: count }, (_, n) => {
    const path = join(folder, `${n}.db`);
    const memory = new MemoryClient({ path: `replica-${n}` });
    const app = new AppDatabase(t, path);
    return { path, app, client: new FaultyClient(memory), remote: memory.store };
  });
}

/** Pages that are wrong in the replica of a member. */
function wrongPages({ path, remote, client }: Member): number[] {
  return differences(imageOfReplica(remote, client.location), pagesOf(path));
}

interface Bench {
  readonly store: Store;
  readonly all: readonly Member[];
  readonly one: Member;
  readonly clock: FakeClock;
  readonly logger: RecordingLogger;
}

async function openBench(
  t: TestContext,
  count: number,
  overrides: Partial<StoreOptions> = {},
  database: Partial<DatabaseOptions> = {},
): Promise<Bench> {
  const all = members(t, count);
  const clock = new FakeClock();
  const ports = testPorts({ clock });
  const databases = all.map(({ path, client }) => databaseOptions(path, [client], database));
  const store = new Store(storeOptions(databases, overrides), ports);
  t.after(() => store.close());
  await store.open();
  const [one] = all;
  assert.ok(one !== undefined);
  return { store, all, one, clock, logger: ports.logger };
}

/** Moves the clock until the promise is settled, slowly enough for files to be read in between. */
async function drive<T>(clock: FakeClock, work: Promise<T>): Promise<T> {
  const state = { settled: false };
  const mark = (): void => {
    state.settled = true;
  };
  work.then(mark, mark);
  while (!state.settled) {
    await sleep(systemClock, 10);
    await clock.advance(200);
  }
  return work;
}

function codes(failures: readonly LitestreamError[]): string[] {
  return failures.map(({ code }) => code);
}

test('a sync brings everything into the replica, and says where it stands', async (t) => {
  const { store, one } = await openBench(t, 1);
  assert.deepEqual(await store.syncDatabase(one.path), { txid: 1n, replicatedTxid: 1n });
  one.app.insert(5);
  assert.deepEqual(await store.syncDatabase(one.path), { txid: 2n, replicatedTxid: 2n });
  assert.deepEqual(await store.syncDatabase(one.path), { txid: 2n, replicatedTxid: 2n });
  assert.deepEqual(wrongPages(one), []);
});

test('an unknown database, one that is missing, and a replica that fails are told apart', async (t) => {
  const { store, one } = await openBench(t, 1);
  await assert.rejects(store.syncDatabase('/other.db'), { code: 'ERR_DB_NOT_FOUND' });
  one.client.setDown(true);
  await assert.rejects(store.syncDatabase(one.path), {
    code: 'ERR_STORAGE_TEMPORARY',
    message: `sync replica for ${one.path}: injected fault: connection refused`,
  });
  const missing = join(tempDir(t), 'missing.db');
  const other = new Store(
    storeOptions([databaseOptions(missing, [new MemoryClient()])]),
    testPorts(),
  );
  await other.open();
  await assert.rejects(other.syncDatabase(missing), {
    code: 'ERR_DB_NOT_READY',
    message: `sync replica for ${missing}: no position, waiting for data`,
  });
  assert.deepEqual(await other.close(), []);
  assert.equal(existsSync(missing), false, 'and is not created');
});

test('OPS-19 two databases in one replica are refused before anything is touched', async (t) => {
  const [a, b] = members(t, 2);
  assert.ok(a !== undefined && b !== undefined);
  const databases = [a, b].map(({ path }) => databaseOptions(path, [a.client]));
  const daemon = new Store(storeOptions(databases, { monitors: true }), testPorts());
  assert.throws(() => void daemon.open(), {
    code: 'ERR_CONFIG',
    message: `databases ${a.path} and ${b.path} share replica replica-0; give each its own path`,
  });
  assert.equal(a.client.count(), 0);
  assert.equal(existsSync(`${a.path}-meta`), false);
});

test('a single pass backs up the first of two databases in one replica, and fails for the second', async (t) => {
  const [a, b] = members(t, 2);
  assert.ok(a !== undefined && b !== undefined);
  const databases = [a, b].map(({ path }) => databaseOptions(path, [a.client]));
  const store = new Store(storeOptions(databases), testPorts());
  await store.open();
  await store.syncDatabase(a.path);
  await assert.rejects(store.syncDatabase(b.path), { code: 'ERR_CONFIG' });
  assert.deepEqual(await store.close(), []);
  assert.deepEqual(wrongPages(a), []);
  assert.equal(existsSync(`${b.path}-meta`), false);
});

test('one file under two names is refused, a shared metadata folder too', (t) => {
  const [a] = members(t, 1);
  assert.ok(a !== undefined);
  const check = (names: readonly string[], metas: readonly string[], message: RegExp): void => {
    const databases = names.map((path, n) =>
      databaseOptions(path, [new MemoryClient({ path: `${n}` })], { metaPath: metas[n] ?? '' }),
    );
    const store = new Store(storeOptions(databases), testPorts());
    assert.throws(() => void store.open(), { code: 'ERR_CONFIG', message });
  };
  symlinkSync(a.path, `${a.path}-symbolic`);
  linkSync(a.path, `${a.path}-hard`);
  const metas = [`${a.path}-m1`, `${a.path}-m2`];
  check([a.path, a.path], metas, /are the same file; list it once/);
  check([a.path, `${a.path}-symbolic`], metas, /are the same file/);
  check([a.path, `${a.path}-hard`], metas, /are the same file/);
  check([a.path, `${a.path}-other`], ['/m', '/m'], /meta-path collision/);
});

for (const monitors of [true, false]) {
  const how = monitors ? 'a daemon' : 'a store without monitors';
  test(`E8 closing ${how} in its first second syncs everything`, async (t) => {
    const { store, all } = await openBench(t, 3, { monitors }, { monitorIntervalMs: 1000 });
    for (const { app } of all) app.insert(10);
    assert.deepEqual(await store.close(), []);
    for (const member of all) assert.deepEqual(wrongPages(member), []);
  });
}

test('E8 what was committed after the last sync is in the replica after close', async (t) => {
  const { store, one } = await openBench(t, 1);
  await store.syncDatabase(one.path);
  one.app.insert(25);
  assert.deepEqual(await store.close(), []);
  assert.deepEqual(wrongPages(one), []);
  assert.deepEqual(await store.close(), [], 'a second close does nothing');
});

test('a failure of one database touches no other', async (t) => {
  const folder = tempDir(t);
  const text = join(folder, 'text.db');
  writeFileSync(text, 'no database, but long enough for a header '.repeat(50));
  const all = members(t, 2);
  const databases = [
    databaseOptions(text, [new MemoryClient({ path: 'text' })]),
    ...all.map(({ path, client }) => databaseOptions(path, [client])),
  ];
  const ports = testPorts();
  const store = new Store(storeOptions(databases), ports);
  await store.open();
  const failures = await store.close();
  assert.deepEqual(codes(failures), ['ERR_DB_INVALID']);
  assert.match(failures[0]?.message ?? '', /file is not a database/);
  for (const member of all) assert.deepEqual(wrongPages(member), []);
});

test('OPS-02 E8 the last upload is tried again until it works', async (t) => {
  const { store, one, clock, logger } = await openBench(t, 1, { shutdownSyncTimeoutMs: 30_000 });
  one.client.inject({ operation: 'write', kind: 'before', times: 3 });
  assert.deepEqual(await drive(clock, store.close()), []);
  assert.deepEqual(wrongPages(one), []);
  assert.equal(one.client.count('write'), 4);
  const retries = logger.records.filter(({ message }) =>
    message.startsWith('shutdown sync failed'),
  );
  assert.equal(retries.length, 3);
  assert.equal(retries[0]?.attributes['db'], '0.db');
  const success = logger.records.find(
    ({ message }) => message === 'shutdown sync succeeded after retry',
  );
  assert.equal(success?.attributes['attempts'], 4);
});

test('the last upload gives up when the time is over', async (t) => {
  const { store, one, clock, logger } = await openBench(t, 1, { shutdownSyncTimeoutMs: 5_000 });
  one.client.setDown(true);
  const failures = await drive(clock, store.close());
  assert.deepEqual(codes(failures), ['ERR_SHUTDOWN_TIMEOUT']);
  assert.match(failures[0]?.message ?? '', /^shutdown sync timeout after \d+ attempts: /);
  assert.ok(logger.messages('error').includes('shutdown sync failed after timeout'));
  assert.ok(clock.monotonic() >= 5_000);
});

test('a timeout of 0 means one attempt', async (t) => {
  const { store, one, clock } = await openBench(t, 1);
  await store.syncDatabase(one.path);
  one.app.insert(1);
  one.client.setDown(true);
  const before = one.client.count('write');
  const failures = await drive(clock, store.close());
  assert.deepEqual(codes(failures), ['ERR_SHUTDOWN_TIMEOUT']);
  assert.equal(one.client.count('write'), before + 1);
});

for (const operation of ['write', 'list'] as const) {
  test(`OPS-03 a store that hangs (${operation}) does not hold up the end beyond the time`, async (t) => {
    const { store, one, clock } = await openBench(t, 1, { shutdownSyncTimeoutMs: 5_000 });
    one.client.inject({ operation, kind: 'hang', times: 100 });
    const failures = await drive(clock, store.close());
    assert.deepEqual(codes(failures), ['ERR_SHUTDOWN_TIMEOUT']);
  });
}

test('OPS-03 many replicas that hang hold up neither the end beyond the time nor the last sync of others', async (t) => {
  const timeoutMs = 5_000;
  const { store, all, clock } = await openBench(t, 36, { shutdownSyncTimeoutMs: timeoutMs });
  const [healthy, hanging] = [all.slice(-3), all.slice(0, -3)];
  for (const { client } of hanging) client.inject({ operation: 'write', kind: 'hang', times: 100 });
  let syncedAt = Infinity;
  const look = setInterval(() => {
    if (healthy.every(({ client }) => client.count('write') > 0))
      syncedAt = Math.min(syncedAt, clock.monotonic());
  }, 5);
  const failures = await drive(clock, store.close());
  clearInterval(look);
  assert.deepEqual(new Set(codes(failures)), new Set(['ERR_SHUTDOWN_TIMEOUT']));
  assert.equal(failures.length, hanging.length);
  assert.ok(clock.monotonic() <= timeoutMs + 5_000, `${clock.monotonic()} ms`);
  assert.ok(syncedAt < timeoutMs, `others after ${syncedAt} ms`);
  for (const member of healthy) assert.deepEqual(wrongPages(member), []);
});

test('OPS-03 OPS-18 an interrupt ends an upload that hangs', async (t) => {
  const { store, one, clock, logger } = await openBench(t, 1, { shutdownSyncTimeoutMs: 60_000 });
  one.client.inject({ operation: 'write', kind: 'hang' });
  const interrupt = new AbortController();
  const closed = store.close({ interrupt: interrupt.signal });
  while (one.client.count('write') === 0) await clock.settle();
  interrupt.abort();
  assert.deepEqual(codes(await closed), ['ERR_SHUTDOWN_INTERRUPTED']);
  assert.deepEqual(logger.messages(), ['shutdown sync interrupted by signal']);
  assert.equal(clock.monotonic(), 0);
});

test('an interrupt ends the wait between two attempts', async (t) => {
  const { store, one, clock, logger } = await openBench(t, 1, { shutdownSyncTimeoutMs: 60_000 });
  one.client.inject({ operation: 'write', kind: 'before', times: 9 });
  const interrupt = new AbortController();
  const closed = store.close({ interrupt: interrupt.signal });
  const waiting = (): boolean =>
    logger.messages('warn').some((message) => message.startsWith('shutdown sync failed, retrying'));
  while (!waiting()) await clock.settle();
  interrupt.abort();
  const failures = await closed;
  assert.deepEqual(codes(failures), ['ERR_SHUTDOWN_INTERRUPTED']);
  assert.match(failures[0]?.message ?? '', /after 1 attempts: shutdown sync interrupted/);
});

test('an interrupt that came before leaves the local files only', async (t) => {
  const { store, one, logger } = await openBench(t, 1, { shutdownSyncTimeoutMs: 60_000 });
  const interrupt = new AbortController();
  interrupt.abort();
  const failures = await store.close({ interrupt: interrupt.signal });
  assert.deepEqual(codes(failures), ['ERR_SHUTDOWN_INTERRUPTED']);
  assert.deepEqual(logger.messages(), ['shutdown sync skipped, interrupted by signal']);
  assert.equal(one.client.count('write'), 0);
  assert.ok(
    existsSync(join(`${one.path}-meta`, 'ltx', '0', '0000000000000001-0000000000000001.ltx')),
  );
});
