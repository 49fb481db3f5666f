import type { DirectoryMonitor, DirectoryMonitorInit } from './directory-monitor.ts';
import type { Config, ResolvedDatabase } from '../config/index.ts';
import type { DatabaseOptions, Store } from '../engine/index.ts';
import type { StorePorts, StoreSettings } from './store.ts';

export {
  type FoundDirectory,
  type ResolvedDatabases,
  resolveDatabases,
  sharedLocations,
  type ShadowedDatabase,
  type WatchedDirectory,
} from './databases.ts';
export type { DirectoryMonitor, DirectoryMonitorInit } from './directory-monitor.ts';
export { type ClientPorts, createReplicaClient } from './replica-client.ts';
export type { StorePorts, StoreSettings } from './store.ts';

/**
 * Builds the store of a configuration; nothing is opened yet. The engine is loaded here, and only here.
 *
 * @throws LitestreamError prefixed `cannot open store: `
 */
export async function createStore(
  config: Config,
  databases: readonly ResolvedDatabase[],
  ports: StorePorts,
  settings: StoreSettings,
): Promise<Store> {
  const store = await import('./store.ts');
  return store.createStore(config, databases, ports, settings);
}

/**
 * What the engine needs of a database that is added while the store is open.
 *
 * @throws LitestreamError `ERR_CONFIG`, `ERR_STORAGE_URL`
 */
export async function createDatabaseOptions(
  database: ResolvedDatabase,
  ports: StorePorts,
): Promise<DatabaseOptions> {
  const store = await import('./store.ts');
  return store.createDatabaseOptions(database, ports);
}

/**
 * Keeps the databases of a watched folder registered.
 *
 * @throws LitestreamError prefixed `start directory monitor for <dir>: `
 */
export async function startDirectoryMonitor(init: DirectoryMonitorInit): Promise<DirectoryMonitor> {
  const monitor = await import('./directory-monitor.ts');
  return monitor.startDirectoryMonitor(init);
}
