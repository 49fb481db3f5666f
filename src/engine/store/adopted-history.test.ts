import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { formatFileName } from '../../formats/ltx/index.ts';
import { present } from '../../lib/assert.ts';
import { systemClock } from '../../lib/clock.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import { restoreDatabase } from '../../restore/index.ts';
import { CheckpointWorker } from '../../sqlite/index.ts';
import { noopLogger } from '../../telemetry/index.ts';
import { listAll, MemoryClient } from '../../testing/index.ts';
import { AppDatabase, contentOf } from '../../../test/support/app-database.ts';
import { databaseOptions, testPorts } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { Database } from '../db/database.ts';
import type { StoreOptions } from '../options.ts';
import { Upkeep } from './upkeep.ts';

const STORE: StoreOptions = {
  databases: [],
  shutdownSyncTimeoutMs: 0,
  shutdownSyncIntervalMs: 0,
  levels: [{ level: 1, intervalMs: 30_000 }],
  snapshotIntervalMs: 3_600_000,
  snapshotRetentionMs: 3_600_000,
  l0RetentionMs: 300_000,
  l0RetentionCheckIntervalMs: 15_000,
  retentionEnabled: true,
  verifyCompaction: false,
  monitors: false,
};

interface Daemon {
  readonly database: Database;
  /** Captures, and uploads to every replica. */
  readonly upload: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** A daemon of one database that does only what it is told. */
function start(t: TestContext, path: string, clients: readonly MemoryClient[]): Daemon {
  const ports = testPorts();
  const worker = new CheckpointWorker(systemClock);
  const options = databaseOptions(path, clients);
  const database = new Database({ options, ports, worker, logger: ports.logger });
  const upkeep = new Upkeep(STORE, ports, ports.logger);
  upkeep.add(database);
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    await upkeep.stop();
    await database.stopLoops();
    await database.release();
    await upkeep.close();
    await worker.close();
  };
  t.after(close);
  const upload = async (): Promise<void> => {
    const txid = await database.sync();
    for (const replica of database.replicas) await database.syncReplica(replica, txid);
  };
  return { database, upload, close };
}

function file(txid: number): string {
  return `ltx/0/${formatFileName(BigInt(txid), BigInt(txid))}`;
}

/** Another database's file becomes the newest one of level 0. */
async function interfere(t: TestContext, folder: string, client: MemoryClient): Promise<void> {
  const path = join(folder, 'other.db');
  const app = new AppDatabase(t, path);
  const own = new MemoryClient();
  const { upload } = start(t, path, [own]);
  for (let n = 0; n < 4; n++) {
    app.insert(3, 700);
    await upload();
  }
  client.store.set(file(4), present(own.store.get(file(4)), 'the other database’s file'));
}

async function restored(folder: string, client: MemoryClient): Promise<string> {
  const outputPath = join(folder, 'restored.db');
  const options = { client, outputPath, target: {}, fileSystem: nodeFileSystem };
  await restoreDatabase({ ...options, clock: systemClock, logger: noopLogger });
  return contentOf(outputPath);
}

test('E10 a file that was fetched from one replica is not uploaded to another one, where it continues another history', async (t) => {
  const folder = tempDir(t);
  const path = join(folder, 'app.db');
  const app = new AppDatabase(t, path);
  const [one, two] = [new MemoryClient(), new MemoryClient({ path: 'two' })];
  const first = start(t, path, [one, two]);
  for (let n = 0; n < 3; n++) {
    app.insert(2);
    await first.upload();
  }
  await first.close();
  await interfere(t, folder, one);
  const second = start(t, path, [one, two]);
  app.insert(2);
  // Where the history was not heard in time, the local state is given up by the first upload.
  await second.upload();
  await second.upload();
  const foreign = present(one.store.get(file(4)), 'the other database’s file');
  for (const { bytes } of two.store.values()) assert.notDeepEqual(bytes, foreign.bytes);
  const found = (await listAll(two, 0)).map(({ maxTxid }) => maxTxid);
  assert.deepEqual(found.slice(0, 3), [1n, 2n, 3n]);
  assert.equal(await restored(folder, two), contentOf(path));
});
