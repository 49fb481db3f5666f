export { defaultMetaPath, resolveDatabase, type ResolvedDatabase } from './database.ts';
export { configJsonSchema, type JsonSchema } from './json-schema.ts';
export type { ReplicaKeys } from './keys.ts';
export {
  commandLineConfig,
  DEFAULT_SOCKET_PATH,
  defaultConfig,
  type Environment,
  loadConfig,
  type LoadedConfig,
  parseConfig,
} from './load.ts';
export { isReplicaUrl, normalizePath } from './path.ts';
export { registeredDatabase } from './registered.ts';
export { resolveReplica, type ResolvedReplica, urlWarnings } from './replica.ts';
export type { Config, ConfigWarning, DatabaseConfig, LoggingConfig } from './types.ts';
