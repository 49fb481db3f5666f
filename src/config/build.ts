import { LitestreamError } from '../lib/errors.ts';
import { formatDuration } from '../lib/go-duration.ts';
import {
  type DatabaseKeys,
  type FileKeys,
  type ReplicaKeys,
  type ReplicaSettingKeys,
  replicaSettingSchema,
  type SnapshotKeys,
} from './keys.ts';
import { normalizePath } from './path.ts';
import { buildReadReplica } from './read-replicas.ts';
import type { Config, DatabaseConfig } from './types.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Where the control socket is unless the file or a flag says otherwise. */
export const DEFAULT_SOCKET_PATH = '/var/run/litestream.sock';

/** The configuration of an empty file. */
export function defaultConfig(): Config {
  return buildConfig({});
}

/** The configuration of one database and its replicas, as the command line gives them. Spec: cli 5.1. */
export function commandLineConfig(path: string, urls: readonly string[]): Config {
  return buildConfig({ dbs: [{ path, replicas: urls.map((url) => ({ url })) }] });
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

/** What the keys of a file say, with the defaults of those that are not there. Nothing is validated. */
export function buildConfig(file: FileKeys): Config {
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
