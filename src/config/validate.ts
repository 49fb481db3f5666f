import { LitestreamError } from '../lib/errors.ts';
import { formatDuration } from '../lib/go-duration.ts';
import { redactUrl } from '../lib/redact-url.ts';
import { checkReadReplicas } from './read-replicas.ts';
import type { Config, DatabaseConfig, ReplicaConfig } from './types.ts';

const MINUTE_MS = 60_000;
/** What `logging.type` may say. */
export const logTypes: readonly string[] = ['', 'text', 'json', 'pretty'];

function configError(
  message: string,
  details: Readonly<Record<string, unknown>> = {},
): LitestreamError {
  return new LitestreamError('ERR_CONFIG', message, { details });
}

function fieldError(field: string, reason: string, found: string): LitestreamError {
  return configError(`${field}: ${reason} (got ${found})`, { field, found });
}

interface DurationRule {
  readonly field: string;
  readonly ms: number | undefined;
  readonly reason: string;
  /** The value must be greater than 0, or at least `atLeastMs`. */
  readonly atLeastMs?: number;
}

/** @throws LitestreamError `ERR_CONFIG` */
function checkDuration({ field, ms, reason, atLeastMs }: DurationRule): void {
  if (ms === undefined) return;
  if (atLeastMs === undefined ? ms > 0 : ms >= atLeastMs) return;
  throw fieldError(field, reason, formatDuration(ms));
}

function checkGlobals(config: Config): void {
  const positive = 'must be greater than 0';
  checkDuration({
    field: 'snapshot.interval',
    ms: config.snapshotIntervalMs,
    reason: `snapshot interval ${positive}`,
  });
  checkDuration({
    field: 'snapshot.retention',
    ms: config.snapshotRetentionMs,
    reason: `snapshot retention ${positive}`,
  });
  checkDuration({
    field: 'l0-retention',
    ms: config.l0RetentionMs,
    reason: 'l0 retention must not be negative',
    atLeastMs: 0,
  });
  checkDuration({
    field: 'l0-retention-check-interval',
    ms: config.l0RetentionCheckIntervalMs,
    reason: `l0 retention check interval ${positive}`,
  });
  checkDuration({
    field: 'shutdown-sync-timeout',
    ms: config.shutdownSyncTimeoutMs,
    reason: 'shutdown-sync-timeout must be >= 0',
    atLeastMs: 0,
  });
  checkDuration({
    field: 'shutdown-sync-interval',
    ms: config.shutdownSyncIntervalMs,
    reason: `shutdown sync interval ${positive}`,
  });
}

function checkServices(config: Config): void {
  if (config.heartbeatUrl !== '' && !/^https?:\/\//.test(config.heartbeatUrl)) {
    const reason = 'heartbeat URL must be a valid HTTP or HTTPS URL';
    throw fieldError('heartbeat-url', reason, redactUrl(config.heartbeatUrl));
  }
  checkDuration({
    field: 'heartbeat-interval',
    ms: config.heartbeatIntervalMs,
    reason: 'heartbeat interval must be at least 1 minute',
    atLeastMs: MINUTE_MS,
  });
  for (const [index, { intervalMs }] of config.levels.entries()) {
    const reason = 'compaction interval must be greater than 0';
    checkDuration({ field: `levels[${index}].interval`, ms: intervalMs, reason });
  }
  const reason = 'must be >= 0';
  checkDuration({
    field: 'watchdog-threshold',
    ms: config.watchdogThresholdMs,
    reason,
    atLeastMs: 0,
  });
  checkDuration({ field: 'lag-alert', ms: config.lagAlertMs, reason, atLeastMs: 0 });
}

/** The rules about which keys of an entry go together, in the order in which they are reported. */
function shapeProblem(
  database: DatabaseConfig,
  earlier: ReadonlyMap<string, number>,
): string | undefined {
  const { path, dir } = database;
  if (path !== '' && dir !== '') return `cannot specify both 'path' and 'dir'`;
  if (path === '' && dir === '') return `must specify either 'path' or 'dir'`;
  if (dir !== '' && database.pattern === '') return `'pattern' is required when using 'dir'`;
  const other = path === '' ? undefined : earlier.get(path);
  if (other !== undefined) {
    return `duplicate path "${path}" (already used by database config #${other}); each database can be listed only once`;
  }
  if (database.watch && dir === '') return `'watch' can only be enabled with a directory`;
  if (database.metaDir === '') return undefined;
  if (dir === '') return `'meta-dir' can only be used with a directory`;
  return database.metaPath === '' ? undefined : `cannot specify both 'meta-path' and 'meta-dir'`;
}

const REPLICA_DURATIONS = [
  ['sync-interval', 'sync interval'],
  ['snapshot-interval', 'snapshot interval'],
  ['retention', 'snapshot retention'],
] as const;

function checkIntervals(database: DatabaseConfig): void {
  const name = `dbs[${database.path === '' ? database.dir : database.path}]`;
  const positive = 'must be greater than 0';
  checkDuration({
    field: `${name}.snapshot.interval`,
    ms: database.snapshot.interval,
    reason: `snapshot interval ${positive}`,
  });
  checkDuration({
    field: `${name}.snapshot.retention`,
    ms: database.snapshot.retention,
    reason: `snapshot retention ${positive}`,
  });
  checkDuration({
    field: `${name}.lag-alert`,
    ms: database.lagAlertMs,
    reason: 'must be >= 0',
    atLeastMs: 0,
  });
  if (database.replica !== undefined) checkReplica(database.replica, `${name}.replica`);
  for (const [index, replica] of database.replicas.entries()) {
    checkReplica(replica, `${name}.replicas[${index}]`);
  }
}

function checkReplica(replica: ReplicaConfig, name: string): void {
  for (const [key, what] of REPLICA_DURATIONS) {
    const reason = `${what} must be greater than 0`;
    checkDuration({ field: `${name}.${key}`, ms: replica[key], reason });
  }
}

/**
 * Checks a configuration in the reference's order; the first problem ends it.
 *
 * @throws LitestreamError `ERR_CONFIG`
 *
 * Spec: config 12.
 */
export function validateConfig(config: Config): void {
  checkGlobals(config);
  checkServices(config);
  const earlier = new Map<string, number>();
  for (const [index, database] of config.databases.entries()) {
    const number = index + 1;
    const problem = shapeProblem(database, earlier);
    if (problem !== undefined) throw configError(`database config #${number}: ${problem}`);
    checkIntervals(database);
    if (database.path !== '') earlier.set(database.path, number);
  }
  checkReadReplicas(config);
  const { type } = config.logging;
  if (!logTypes.includes(type)) {
    throw configError(`logging.type: unknown log type "${type}" (expected text, json or pretty)`);
  }
}
