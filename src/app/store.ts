import { basename } from 'node:path';
import type { Config, ResolvedDatabase } from '../config/index.ts';
import { type DatabaseOptions, type Ports, type ReplicaOptions, Store } from '../engine/index.ts';
import { LitestreamError, wrapError } from '../lib/errors.ts';
import { type ClientPorts, createReplicaClient } from './replica-client.ts';

const LEVELS_MAX = 8;

/** What a store and its replica clients stand on. */
export type StorePorts = Ports & Pick<ClientPorts, 'environment'>;

/** What beside the configuration decides how a store runs. */
export interface StoreSettings {
  /** False for one pass: nothing runs by itself. */
  readonly monitors: boolean;
}

async function replicaOptions(
  database: ResolvedDatabase,
  ports: StorePorts,
): Promise<ReplicaOptions[]> {
  const options: ReplicaOptions[] = [];
  for (const replica of database.replicas) {
    const { location, name } = replica;
    const logger = ports.logger.with({
      system: 'store',
      db: basename(database.path),
      replica: location.type,
    });
    options.push({
      client: await createReplicaClient(location, { ...ports, logger }, database.path),
      name,
      syncIntervalMs: replica.syncIntervalMs,
      syncIntervalExplicit: replica.syncIntervalExplicit,
      maxSyncLtxFiles: replica.maxSyncLtxFiles,
      autoRecover: replica.autoRecover,
      validationIntervalMs: replica.validationIntervalMs,
      snapshotIntervalMs: replica.snapshotIntervalMs,
      retentionMs: replica.retentionMs,
    });
  }
  return options;
}

/**
 * What the engine needs of one database; its clients have contacted nothing yet.
 *
 * @throws LitestreamError `ERR_CONFIG`, `ERR_STORAGE_URL`
 */
export async function createDatabaseOptions(
  database: ResolvedDatabase,
  ports: StorePorts,
): Promise<DatabaseOptions> {
  const { config, path, metaPath } = database;
  if (config.minCheckpointPages <= 0) {
    throw new LitestreamError('ERR_CONFIG', 'minimum checkpoint page count required');
  }
  return {
    path,
    metaPath,
    monitorIntervalMs: config.monitorIntervalMs,
    monitorIntervalExplicit: config.monitorIntervalExplicit,
    checkpointIntervalMs: Math.max(0, config.checkpointIntervalMs),
    busyTimeoutMs: config.busyTimeoutMs,
    minCheckpointPages: config.minCheckpointPages,
    truncatePages: config.truncatePages,
    maxSyncWalBytes: Math.max(0, config.maxSyncWalBytes),
    replicas: await replicaOptions(database, ports),
  };
}

/**
 * Builds the store of a configuration; nothing is opened yet.
 *
 * @throws LitestreamError prefixed `cannot open store: `
 */
export async function createStore(
  config: Config,
  databases: readonly ResolvedDatabase[],
  ports: StorePorts,
  settings: StoreSettings,
): Promise<Store> {
  try {
    if (config.levels.length > LEVELS_MAX) {
      throw new LitestreamError('ERR_CONFIG', `compaction level cannot exceed ${LEVELS_MAX}`);
    }
    const options: DatabaseOptions[] = [];
    for (const database of databases) options.push(await createDatabaseOptions(database, ports));
    return new Store(
      {
        databases: options,
        shutdownSyncTimeoutMs: config.shutdownSyncTimeoutMs,
        shutdownSyncIntervalMs: config.shutdownSyncIntervalMs,
        levels: config.levels.map(({ intervalMs }, index) => ({ level: index + 1, intervalMs })),
        snapshotIntervalMs: config.snapshotIntervalMs,
        snapshotRetentionMs: config.snapshotRetentionMs,
        l0RetentionMs: config.l0RetentionMs,
        l0RetentionCheckIntervalMs: config.l0RetentionCheckIntervalMs,
        retentionEnabled: config.retentionEnabled,
        verifyCompaction: config.verifyCompaction,
        validationIntervalMs: config.validationIntervalMs,
        monitors: settings.monitors,
      },
      ports,
    );
  } catch (error) {
    throw wrapError('cannot open store', error);
  }
}
