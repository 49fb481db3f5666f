export { commandLineConfig, DEFAULT_SOCKET_PATH, defaultConfig } from './build.ts';
export { defaultMetaPath, resolveDatabase, type ResolvedDatabase } from './database.ts';
export type { ReplicaKeys } from './keys.ts';
export type { LoadedConfig } from './load.ts';
export { loadConfig } from './on-need.ts';
export { isReplicaUrl, normalizePath } from './path.ts';
export { registeredDatabase } from './registered.ts';
export { resolveReplica, type ResolvedReplica, urlWarnings } from './replica.ts';
export type { Config, ConfigWarning, DatabaseConfig, Environment, LoggingConfig } from './types.ts';
