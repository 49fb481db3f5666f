import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { toTxid } from '../../formats/ltx/index.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { listAll, MemoryClient } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { databaseOptions, testPorts } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { ranges, upkeepBench, type UpkeepBench } from '../../../test/support/upkeep-bench.ts';
import { waitFor } from '../../../test/support/wait.ts';
import type { StoreOptions } from '../options.ts';
import { Store } from './store.ts';

const MINUTE = 60_000;

/** Commits that nothing takes away yet. */
async function fallBehind(b: UpkeepBench, commits: number): Promise<void> {
  for (let n = 0; n < commits; n++) await b.commit([]);
}

test('the snapshot of a replica that is far behind waits until it has caught up', async (t) => {
  const b = upkeepBench(t);
  const { maintenance } = b.remotes[0];
  await b.commit();
  await fallBehind(b, 65);
  assert.equal(await maintenance.scheduledSnapshot(() => false), 'behind');
  assert.deepEqual(await ranges(b.remotes[0], 9), []);
  await b.commit();
  assert.equal(await maintenance.scheduledSnapshot(() => false), 'done');
  assert.deepEqual(await ranges(b.remotes[0], 9), ['1-67']);
  await b.converged();
});

test('a replica that gets on, but does not catch up, is left without a snapshot for ten minutes at most', async (t) => {
  const b = upkeepBench(t);
  const { client, maintenance } = b.remotes[0];
  await b.commit();
  await fallBehind(b, 70);
  assert.equal(await maintenance.scheduledSnapshot(() => false), 'behind');
  b.clock.pass(11 * MINUTE);
  assert.equal(await maintenance.scheduledSnapshot(() => false), 'behind', 'nothing gets through');
  await maintenance.replica.reach(b.database.txid);
  await fallBehind(b, 70);
  // While it uploads, the application goes on all the time.
  const write = client.write.bind(client);
  let more = 200;
  client.write = async (key, ...rest) => {
    if (more-- > 0) await b.commit([]);
    return write(key, ...rest);
  };
  assert.equal(await maintenance.scheduledSnapshot(() => false), 'done');
  assert.ok(more > 0, 'it did not wait for the application to end');
  const [snapshot] = await listAll(b.remotes[0].store, 9);
  assert.ok(snapshot !== undefined && snapshot.maxTxid > 141n);
  assert.ok(b.database.txid > snapshot.maxTxid);
  client.write = write;
  await maintenance.replica.reach(b.database.txid);
  await b.converged();
  assert.deepEqual(b.logger.messages(), []);
});

test('transactions that are in one file count as one', async (t) => {
  const b = upkeepBench(t);
  const { maintenance } = b.remotes[0];
  await b.commit();
  await fallBehind(b, 100);
  const txids = await b.database.files.list();
  await b.database.files.remove(txids.slice(1, -1));
  assert.equal(await maintenance.scheduledSnapshot(() => false), 'done');
  assert.deepEqual(await ranges(b.remotes[0], 9), ['1-101']);
  await b.converged();
});

test('a sync ends with what was asked for, however fast the application is', async (t) => {
  const b = upkeepBench(t);
  const { client, maintenance } = b.remotes[0];
  await b.commit();
  await fallBehind(b, 3);
  const write = client.write.bind(client);
  let more = 50;
  client.write = async (key, ...rest) => {
    if (more-- > 0) await b.commit([]);
    return write(key, ...rest);
  };
  await b.database.syncReplica(maintenance.replica, b.database.txid);
  assert.equal(maintenance.replica.position, 4n);
});

test('levels do not wait for the snapshot of a replica that is far behind', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const client = new MemoryClient();
  const options = databaseOptions(path, [client], { monitorIntervalMs: 50 });
  const common: StoreOptions = {
    databases: [options],
    shutdownSyncTimeoutMs: 0,
    shutdownSyncIntervalMs: 0,
    levels: [{ level: 1, intervalMs: 100 }],
    snapshotIntervalMs: 100,
    snapshotRetentionMs: 3_600_000,
    l0RetentionMs: 3_600_000,
    l0RetentionCheckIntervalMs: 60_000,
    retentionEnabled: true,
    verifyCompaction: false,
    monitors: true,
  };
  let allowed = 3n;
  const write = client.write.bind(client);
  client.write = async (key, ...rest) => {
    if (key.level === 0 && key.maxTxid > allowed) {
      throw new LitestreamError('ERR_STORAGE_TEMPORARY', 'slow down', { retryable: true });
    }
    return write(key, ...rest);
  };
  const store = new Store(common, testPorts());
  t.after(() => store.close());
  await store.open();
  const [database] = store.databases;
  const replica = database?.replicas[0];
  assert.ok(database !== undefined && replica !== undefined);
  while (database.txid < 80n) {
    app.insert();
    await database.sync();
  }
  const last = async (level: number): Promise<bigint | undefined> =>
    (await listAll(client, level)).at(-1)?.maxTxid;
  allowed = 6n;
  await database.syncReplica(replica, toTxid(6));
  await waitFor(async () => (await last(1)) === 6n, { what: 'level 1' });
  assert.equal(replica.position, 6n);
  allowed = 1_000n;
  await database.syncReplica(replica, database.txid);
  await waitFor(async () => (await last(9)) === database.txid, { what: 'the snapshot' });
});
