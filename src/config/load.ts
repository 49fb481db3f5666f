import { readFile } from 'node:fs/promises';
import { LitestreamError } from '../lib/errors.ts';
import { defaultConfigPath } from '../lib/default-config-path.ts';
import { formatDuration } from '../lib/go-duration.ts';
import { isMissing, osError } from '../lib/os-error.ts';
import { decodeYaml } from './decode.ts';
import { expandEnv } from './expand-env.ts';
import {
  type DatabaseKeys,
  type FileKeys,
  fileSchema,
  type ReplicaKeys,
  type ReplicaSettingKeys,
  replicaSettingSchema,
  type SnapshotKeys,
} from './keys.ts';
import { normalizePath } from './path.ts';
import type { Config, ConfigWarning, DatabaseConfig } from './types.ts';
import { validateConfig } from './validate.ts';
import { buildReadReplica, readReplicaWarnings } from './read-replicas.ts';
import { urlWarnings } from './replica.ts';
import { unsetSecretWarnings } from './unset-secrets.ts';
import { configWarnings } from './warnings.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Where the control socket is unless the file or a flag says otherwise. */
export const DEFAULT_SOCKET_PATH = '/var/run/litestream.sock';

/** Variables of the environment, read once at start. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface LoadOptions {
  readonly environment: Environment;
  /** False: `$NAME` stays as it is. */
  readonly expandEnv: boolean;
  /** The value of `$PID`. */
  readonly pid: number;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly warnings: readonly ConfigWarning[];
}

/**
 * Reads, expands, decodes and validates a configuration file.
 *
 * @param path - as typed; empty means the default.
 * @throws LitestreamError `ERR_CONFIG_NOT_FOUND`, `ERR_CONFIG`, `ERR_IO`
 *
 * Spec: config 1.
 */
export async function loadConfig(path: string, options: LoadOptions): Promise<LoadedConfig> {
  const file = normalizePath(path === '' ? defaultConfigPath(options.environment) : path);
  return parseConfig(await readText(file), options);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) {
      throw new LitestreamError('ERR_CONFIG_NOT_FOUND', `config file not found: ${path}`, {
        cause: error,
      });
    }
    // A folder opens and then cannot be read.
    const reading = error instanceof Error && 'code' in error && error.code === 'EISDIR';
    throw osError(reading ? 'read' : 'open', path, error);
  }
}

/** As {@link loadConfig}, from the text of a file. */
export function parseConfig(text: string, options: LoadOptions): LoadedConfig {
  const lookup = (name: string): string | undefined =>
    name === 'PID' ? String(options.pid) : options.environment[name];
  const expanded = options.expandEnv ? expandEnv(text, lookup) : text;
  const { value, unknownKeys, bareDurations } = decodeYaml<FileKeys>(expanded, fileSchema);
  refuseEmptyEntries(value);
  const config = buildConfig(value);
  validateConfig(config);
  const secrets = options.expandEnv ? unsetSecretWarnings(text, lookup) : [];
  const warnings = [
    ...configWarnings(unknownKeys, bareDurations),
    ...secrets,
    ...replicaUrlWarnings(value),
    ...readReplicaWarnings(config),
  ];
  return { config, warnings };
}

function replicaUrlWarnings(file: FileKeys): ConfigWarning[] {
  return (file.dbs ?? []).flatMap((database, at) => {
    const place = `dbs[${at}]`;
    const several = (database?.replicas ?? []).flatMap((replica, index) =>
      replica === null ? [] : urlWarnings(replica, `${place}.replicas[${index}].url`),
    );
    const one = database?.replica;
    return one === undefined ? several : [...urlWarnings(one, `${place}.replica.url`), ...several];
  });
}

/** The configuration of an empty file. */
export function defaultConfig(): Config {
  return buildConfig({});
}

/** The configuration of one database and its replicas, as the command line gives them. Spec: cli 5.1. */
export function commandLineConfig(path: string, urls: readonly string[]): Config {
  return buildConfig({ dbs: [{ path, replicas: urls.map((url) => ({ url })) }] });
}

function emptyEntry(name: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', `${name}: entry is empty`);
}

function refuseEmptyEntries(file: FileKeys): void {
  for (const [index, database] of (file.dbs ?? []).entries()) {
    if (database === null) throw emptyEntry(`database config #${index + 1}`);
    const name = database.path ?? database.dir ?? '';
    for (const key of ['replicas', 'read-replicas'] as const) {
      const empty = (database[key] ?? []).findIndex((entry) => entry === null);
      if (empty >= 0) throw emptyEntry(`dbs[${name}].${key}[${empty}]`);
    }
  }
  const empty = (file.levels ?? []).indexOf(null);
  if (empty >= 0) throw emptyEntry(`levels[${empty}]`);
}

function withoutNulls<T>(list: readonly (T | null)[] | undefined): T[] {
  return (list ?? []).flatMap((entry) => (entry === null ? [] : [entry]));
}

/** The first snapshot setting of the databases, all of which must agree. Spec: config 5.2. */
function promoted(
  databases: readonly DatabaseKeys[],
  key: 'interval' | 'retention',
): number | undefined {
  const given = databases.flatMap(({ path, dir, snapshot }) => {
    const ms = snapshot?.[key];
    return ms === undefined ? [] : [{ name: path ?? dir ?? '', ms }];
  });
  const [first] = given;
  const other = given.find(({ ms }) => ms !== first?.ms);
  if (first === undefined || other === undefined) return first?.ms;
  throw new LitestreamError(
    'ERR_CONFIG',
    `conflicting database snapshot ${key}s: ${first.name} has ${formatDuration(first.ms)}, ` +
      `${other.name} has ${formatDuration(other.ms)}`,
  );
}

function isUnset(value: unknown): boolean {
  return value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
}

/** A layer of settings over another; what is unset, or an empty text or list, is taken from below. Spec: config 6.2. */
function inherit<T extends ReplicaSettingKeys>(over: T, under: ReplicaSettingKeys): T {
  const merged: Record<string, unknown> = Object.fromEntries(Object.entries(over));
  const lower: Record<string, unknown> = { ...under };
  for (const key of Object.keys(replicaSettingSchema)) {
    if (isUnset(merged[key]) && !isUnset(lower[key])) merged[key] = lower[key];
  }
  merged['age'] = {
    identities: over.age?.identities ?? under.age?.identities ?? [],
    recipients: over.age?.recipients ?? under.age?.recipients ?? [],
  };
  // A `true` further out cannot be undone.
  if (under['skip-verify'] === true) merged['skip-verify'] = true;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every key kept its type
  return merged as T;
}

function checkpointPages(database: DatabaseKeys): number {
  const { 'min-checkpoint-page-count': pages, 'min-wal-checkpoint': alias } = database;
  if (pages !== undefined && alias !== undefined && pages !== alias) {
    throw new LitestreamError(
      'ERR_CONFIG',
      'conflicting min-checkpoint-page-count and min-wal-checkpoint',
    );
  }
  return pages ?? alias ?? 1000;
}

const DATABASE_DEFAULTS = {
  path: '',
  dir: '',
  pattern: '',
  recursive: false,
  watch: false,
  'meta-path': '',
  'meta-dir': '',
  'monitor-interval': SECOND_MS,
  'checkpoint-interval': MINUTE_MS,
  'busy-timeout': SECOND_MS,
  'truncate-page-n': 0,
  'max-sync-wal-bytes': 64 * 1024 * 1024,
  'restore-if-db-not-exists': false,
  snapshot: {},
} as const;

function buildDatabase(database: DatabaseKeys, file: FileKeys): DatabaseConfig {
  const settings = inherit<ReplicaSettingKeys>(database, file);
  const keys = { ...DATABASE_DEFAULTS, ...database };
  const { path, replica } = keys;
  return {
    path: path === '' ? '' : normalizePath(path),
    dir: keys.dir,
    pattern: keys.pattern,
    recursive: keys.recursive,
    watch: keys.watch,
    metaPath: keys['meta-path'],
    metaDir: keys['meta-dir'],
    monitorIntervalMs: keys['monitor-interval'],
    monitorIntervalExplicit: database['monitor-interval'] !== undefined,
    checkpointIntervalMs: keys['checkpoint-interval'],
    busyTimeoutMs: Math.trunc(keys['busy-timeout']),
    minCheckpointPages: checkpointPages(database),
    truncatePages: keys['truncate-page-n'],
    maxSyncWalBytes: keys['max-sync-wal-bytes'],
    restoreIfMissing: keys['restore-if-db-not-exists'],
    lagAlertMs: database['lag-alert'],
    snapshot: keys.snapshot,
    replica: replica === undefined ? undefined : inherit(replica, settings),
    replicas: withoutNulls(keys.replicas).map((entry: ReplicaKeys) => inherit(entry, settings)),
    readReplicas: withoutNulls(keys['read-replicas']).map(buildReadReplica),
  };
}

function buildLevels(levels: FileKeys['levels']): Config['levels'] {
  if (levels === undefined) {
    return [30 * SECOND_MS, 5 * MINUTE_MS, HOUR_MS].map((intervalMs) => ({ intervalMs }));
  }
  return withoutNulls(levels).map(({ interval }) => ({ intervalMs: interval ?? 0 }));
}

const FILE_DEFAULTS = {
  addr: '',
  'mcp-addr': '',
  'l0-retention': 5 * MINUTE_MS,
  'l0-retention-check-interval': 15 * SECOND_MS,
  'verify-compaction': false,
  'heartbeat-url': '',
  'heartbeat-interval': 5 * MINUTE_MS,
  'watchdog-threshold': undefined,
  'lag-alert': 0,
  'shutdown-sync-timeout': 30 * SECOND_MS,
  'shutdown-sync-interval': 500,
  exec: '',
} as const;
const SOCKET_DEFAULTS = { enabled: false, path: DEFAULT_SOCKET_PATH, permissions: 0o600 } as const;
const LOGGING_DEFAULTS = { level: '', type: '', stderr: false, source: false } as const;

/** The snapshot schedule: the file's own, else what the databases agree on, else daily. Spec: config 5.2. */
function buildSnapshot(file: FileKeys, databases: readonly DatabaseKeys[]): Required<SnapshotKeys> {
  const interval = promoted(databases, 'interval');
  const retention = promoted(databases, 'retention');
  return {
    interval: file.snapshot?.interval ?? interval ?? DAY_MS,
    retention: file.snapshot?.retention ?? retention ?? DAY_MS,
  };
}

function buildConfig(file: FileKeys): Config {
  const databases = withoutNulls(file.dbs);
  const snapshot = buildSnapshot(file, databases);
  const keys = { ...FILE_DEFAULTS, ...file };
  return {
    addr: keys.addr,
    mcpAddr: keys['mcp-addr'],
    socket: { ...SOCKET_DEFAULTS, ...file.socket },
    levels: buildLevels(file.levels),
    snapshotIntervalMs: snapshot.interval,
    snapshotRetentionMs: snapshot.retention,
    validationIntervalMs: file.validation?.interval ?? 0,
    l0RetentionMs: keys['l0-retention'],
    l0RetentionCheckIntervalMs: keys['l0-retention-check-interval'],
    verifyCompaction: keys['verify-compaction'],
    retentionEnabled: file.retention?.enabled ?? true,
    heartbeatUrl: keys['heartbeat-url'],
    heartbeatIntervalMs: keys['heartbeat-interval'],
    watchdogThresholdMs: keys['watchdog-threshold'],
    lagAlertMs: keys['lag-alert'],
    shutdownSyncTimeoutMs: keys['shutdown-sync-timeout'],
    shutdownSyncIntervalMs: keys['shutdown-sync-interval'],
    exec: keys.exec,
    replicaDefaults: inherit<ReplicaSettingKeys>({}, file),
    logging: { ...LOGGING_DEFAULTS, ...file.logging },
    databases: databases.map((database) => buildDatabase(database, file)),
  };
}
