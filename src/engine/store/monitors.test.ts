import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { type Clock, sleep } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { FaultyClient, listAll, MemoryClient } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import {
  databaseOptions,
  replicaOptions,
  testPorts,
  type RecordingLogger,
} from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { waitFor } from '../../../test/support/wait.ts';
import type { StoreOptions } from '../options.ts';
import { Store } from './store.ts';

const HOUR_MS = 3_600_000;
const FAST: Omit<StoreOptions, 'databases'> = {
  shutdownSyncTimeoutMs: 0,
  shutdownSyncIntervalMs: 0,
  levels: [
    { level: 1, intervalMs: 100 },
    { level: 2, intervalMs: 200 },
  ],
  snapshotIntervalMs: 200,
  snapshotRetentionMs: 500,
  l0RetentionMs: 300,
  l0RetentionCheckIntervalMs: 100,
  retentionEnabled: true,
  verifyCompaction: false,
  monitors: true,
};

async function openStore(
  t: TestContext,
  databases: StoreOptions['databases'],
): Promise<{ store: Store; logger: RecordingLogger }> {
  const ports = testPorts();
  const store = new Store({ ...FAST, databases }, ports);
  t.after(() => store.close());
  await store.open();
  return { store, logger: ports.logger };
}

test('monitors fill levels and snapshots and shrink them again; nothing is said but what was done', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const client = new MemoryClient();
  const options = databaseOptions(path, [client], { monitorIntervalMs: 20 });
  const { logger } = await openStore(t, [options]);
  let rounds = 0;
  await waitFor(
    async () => {
      if (rounds++ % 4 === 0 && rounds < 100) app.insert();
      const level0 = await listAll(client, 0);
      const [first] = await listAll(client, 1);
      const snapshots = await listAll(client, 9);
      const quiet = rounds >= 100 && level0.length === 1 && snapshots.length === 1;
      return quiet && (first?.minTxid ?? 0n) > 1n;
    },
    { what: 'old files to go', stepMs: 25 },
  );
  assert.deepEqual(logger.messages(), []);
  const said = new Set(logger.messages('info'));
  for (const message of [
    'starting compaction monitor',
    'starting L0 retention monitor',
    'compaction complete',
    'snapshot complete',
    'l0 retention enforced',
  ]) {
    assert.ok(said.has(message), message);
  }
});

test('a database that is not there and one whose store is dead do not stop the others', async (t) => {
  const folder = tempDir(t);
  const path = join(folder, 'app.db');
  new AppDatabase(t, path);
  const other = join(folder, 'other.db');
  new AppDatabase(t, other);
  const client = new MemoryClient({ path: 'a' });
  const dead = new FaultyClient(new MemoryClient({ path: 'b' }));
  const { logger } = await openStore(t, [
    databaseOptions(join(folder, 'missing.db'), [new MemoryClient({ path: 'c' })], {
      monitorIntervalMs: 20,
    }),
    databaseOptions(other, [dead], { monitorIntervalMs: 20 }),
    databaseOptions(path, [client], { monitorIntervalMs: 20 }),
  ]);
  await waitFor(() => dead.count('write') > 0, { what: 'the first upload' });
  dead.downError = new LitestreamError('ERR_STORAGE', 'gone');
  const complete = async (level: number): Promise<boolean> =>
    (await listAll(client, level)).length > 0;
  await waitFor(async () => (await complete(1)) && (await complete(2)) && complete(9), {
    what: 'the good database’s levels',
  });
  await waitFor(() => logger.messages('error').includes('compaction failed'), {
    what: 'the bad one’s line',
  });
});

test('a replica with its own snapshot interval and retention keeps to them, the others to those of the store', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const [often, rarely, briefly] = [
    new MemoryClient({ path: 'often' }),
    new MemoryClient({ path: 'rarely' }),
    new MemoryClient({ path: 'briefly' }),
  ];
  const replicas = [
    replicaOptions(often, { snapshotIntervalMs: 100, retentionMs: HOUR_MS }),
    replicaOptions(rarely),
    replicaOptions(briefly, { snapshotIntervalMs: 100, retentionMs: 300 }),
  ];
  const database = databaseOptions(path, [], { monitorIntervalMs: 20, replicas });
  const ports = testPorts();
  const store = new Store(
    { ...FAST, databases: [database], snapshotIntervalMs: HOUR_MS, snapshotRetentionMs: HOUR_MS },
    ports,
  );
  t.after(() => store.close());
  await store.open();
  const snapshots = async (client: MemoryClient): Promise<number> =>
    (await listAll(client, 9)).length;
  const oldest = async (client: MemoryClient): Promise<bigint | undefined> =>
    (await listAll(client, 9))[0]?.maxTxid;
  let written = 0;
  let first: readonly (bigint | undefined)[] = [];
  await waitFor(
    async () => {
      if (written++ < 400) app.insert();
      const [now, other] = [await oldest(briefly), await oldest(often)];
      if (now === undefined || other === undefined) return false;
      if (first.length === 0) first = [now, other];
      return now !== first[0] && (await snapshots(often)) >= 6;
    },
    { what: 'snapshots to be written and to expire', stepMs: 25 },
  );
  // The clock may have passed one full hour.
  assert.ok((await snapshots(rarely)) <= 2, 'the store’s interval counts where none is given');
  assert.equal(await oldest(often), first[1], 'each keeps its own for its own time');
  assert.deepEqual(ports.logger.messages('error'), []);
});

test('a new database gets its snapshot before its first compaction', async (t) => {
  const folder = tempDir(t);
  const begin = async (name: string): Promise<void> => {
    const path = join(folder, name);
    new AppDatabase(t, path);
    const ports = testPorts();
    const databases = [
      databaseOptions(path, [new MemoryClient({ path: name })], { monitorIntervalMs: 20 }),
    ];
    const levels = [{ level: 1, intervalMs: 30_000 }];
    const store = new Store({ ...FAST, databases, levels, snapshotIntervalMs: HOUR_MS }, ports);
    t.after(() => store.close());
    await store.open();
    const done = (): string[] =>
      ports.logger.messages('info').filter((message) => message.endsWith(' complete'));
    await waitFor(() => done().length >= 2, { what: `${name} to have both` });
    assert.deepEqual(done().slice(0, 2), ['snapshot complete', 'compaction complete']);
  };
  await Promise.all(['a.db', 'b.db', 'c.db', 'd.db'].map(begin));
});

test('a replica that has nothing to do any more wakes nobody', async (t) => {
  const path = join(tempDir(t), 'app.db');
  new AppDatabase(t, path);
  const ports = testPorts();
  const delays: number[] = [];
  const clock: Clock = {
    ...ports.clock,
    timer: (ms, callback) => {
      delays.push(ms);
      return ports.clock.timer(ms, callback);
    },
  };
  const databases = [databaseOptions(path, [new MemoryClient()], { monitorIntervalMs: 20 })];
  // Nothing ever comes to level 1, so that level 2 has looked at a replica that was not ready, and then has no work.
  const levels = [{ level: 2, intervalMs: HOUR_MS }];
  const store = new Store({ ...FAST, databases, levels }, { ...ports, clock });
  t.after(() => store.close());
  await store.open();
  const done = (): boolean => ports.logger.messages('info').includes('snapshot complete');
  await waitFor(done, { what: 'the snapshot' });
  await sleep(ports.clock, 200);
  delays.length = 0;
  await waitFor(() => delays.length >= 100, { what: 'a hundred timers' });
  const hurried = delays.filter((ms) => ms <= 1).length;
  assert.ok(hurried < 20, `${hurried} of ${delays.length} timers were hurried`);
});
