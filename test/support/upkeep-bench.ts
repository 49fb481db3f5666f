import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Database } from '../../src/engine/db/database.ts';
import type { StoreOptions } from '../../src/engine/options.ts';
import type { ReplicaMaintenance } from '../../src/engine/store/maintenance.ts';
import { Upkeep } from '../../src/engine/store/upkeep.ts';
import { formatFileName } from '../../src/formats/ltx/index.ts';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { restoreDatabase, type RestoreTarget } from '../../src/restore/index.ts';
import { CheckpointWorker } from '../../src/sqlite/index.ts';
import type { FileInfo } from '../../src/storage/index.ts';
import { noopLogger } from '../../src/telemetry/index.ts';
import {
  FaultyClient,
  FaultyFileSystem,
  listAll,
  MemoryClient,
  RecordedMetrics,
} from '../../src/testing/index.ts';
import { AppDatabase, contentOf, integrityOf } from './app-database.ts';
import { databaseOptions, testPorts, type RecordingLogger } from './engine.ts';
import { tempDir } from './temp-dir.ts';

const HOUR = 3_600_000;

/** Real time, moved by hand. */
export class ShiftedClock implements Clock {
  #shift = 0;
  #passed = 0;
  now(): number {
    return systemClock.now() + this.#shift;
  }
  monotonic(): number {
    return systemClock.monotonic() + this.#passed;
  }
  timer(ms: number, callback: () => void): ReturnType<Clock['timer']> {
    return systemClock.timer(ms, callback);
  }
  /** The wall clock is put forward. */
  move(ms: number): void {
    this.#shift += ms;
  }
  /** Time passes; no timer fires for it. */
  pass(ms: number): void {
    this.#shift += ms;
    this.#passed += ms;
  }
}

/** One replica. */
export interface Remote {
  readonly store: MemoryClient;
  readonly client: FaultyClient;
  readonly maintenance: ReplicaMaintenance;
}

/** What {@link upkeepBench} makes. */
export interface UpkeepBench {
  readonly app: AppDatabase;
  readonly clock: ShiftedClock;
  readonly database: Database;
  readonly fileSystem: FaultyFileSystem;
  readonly logger: RecordingLogger;
  readonly metrics: RecordedMetrics;
  readonly remotes: readonly [Remote, ...Remote[]];
  readonly local: () => string[];
  /** One transaction, captured; uploaded to the given replicas, or to all. */
  readonly commit: (to?: readonly Remote[]) => Promise<void>;
  /** The replica gives the database as it is. */
  readonly converged: (remote?: Remote, target?: RestoreTarget) => Promise<void>;
}

const STORE: StoreOptions = {
  databases: [],
  shutdownSyncTimeoutMs: 0,
  shutdownSyncIntervalMs: 0,
  levels: [
    { level: 1, intervalMs: 30_000 },
    { level: 2, intervalMs: 300_000 },
  ],
  snapshotIntervalMs: 24 * HOUR,
  snapshotRetentionMs: 24 * HOUR,
  l0RetentionMs: 300_000,
  l0RetentionCheckIntervalMs: 15_000,
  retentionEnabled: true,
  verifyCompaction: true,
  monitors: false,
};

/** A database, its replicas in memory, and what keeps those in order; nothing runs by itself. */
export function upkeepBench(
  t: TestContext,
  change: Partial<StoreOptions> = {},
  replicas: number = 1,
): UpkeepBench {
  const folder = tempDir(t);
  const path = join(folder, 'app.db');
  const app = new AppDatabase(t, path);
  const clock = new ShiftedClock();
  const fileSystem = new FaultyFileSystem(nodeFileSystem);
  const metrics = new RecordedMetrics();
  const ports = testPorts({ clock, fileSystem, metrics });
  const worker = new CheckpointWorker(clock);
  const stores = Array.from({ length: replicas }, () => new MemoryClient());
  const clients = stores.map((store) => new FaultyClient(store));
  const database = new Database({
    options: databaseOptions(path, clients),
    ports,
    worker,
    logger: ports.logger,
  });
  const upkeep = new Upkeep({ ...STORE, ...change }, ports, ports.logger);
  upkeep.add(database);
  t.after(async () => {
    await upkeep.stop();
    await database.stopLoops();
    await database.release();
    await upkeep.close();
    await worker.close();
  });
  const remotes = upkeep.of(database).map((maintenance, at) => {
    const [client, store] = [clients[at], stores[at]];
    assert.ok(client !== undefined && store !== undefined);
    return { client, maintenance, store };
  });
  const [first, ...others] = remotes;
  assert.ok(first !== undefined);
  let restores = 0;
  return {
    app,
    clock,
    database,
    fileSystem,
    logger: ports.logger,
    metrics,
    remotes: [first, ...others],
    local: () => readdirSync(`${path}-meta/ltx/0`),
    async commit(to = remotes) {
      app.insert(2);
      const txid = await database.sync();
      for (const { maintenance } of to) await database.syncReplica(maintenance.replica, txid);
    },
    async converged(remote = first, target = {}) {
      const outputPath = join(folder, `restored-${restores++}.db`);
      const { store: client } = remote;
      const options = { client, outputPath, target, fileSystem: nodeFileSystem };
      await restoreDatabase({ ...options, clock: systemClock, logger: noopLogger });
      assert.equal(integrityOf(outputPath), 'ok');
      if (Object.keys(target).length === 0) assert.equal(contentOf(outputPath), contentOf(path));
    },
  };
}

/** The name of an object. */
export function name(level: number, min: number, max: number = min): string {
  return `ltx/${level}/${formatFileName(BigInt(min), BigInt(max))}`;
}

/** Ranges of TXIDs in one level. */
export async function ranges(remote: Remote, level: number): Promise<string[]> {
  const files: FileInfo[] = await listAll(remote.store, level);
  return files.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`);
}

/** So that the next interval of every level has begun. */
export function nextInterval({ clock }: UpkeepBench): void {
  clock.move(300_000);
}
