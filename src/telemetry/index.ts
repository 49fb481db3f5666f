/**
 * Names and shapes of what the program reports. Core code receives a {@link Logger} and a {@link Metrics}; the default is
 * silence.
 */

/** Severity, as in the reference: trace −8, debug −4, info 0, warn 4, error 8. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/** A duration to be printed in Go's form (`1m30s`) in text logs and as integer nanoseconds in JSON logs. */
export class DurationValue {
  readonly ms: number;
  constructor(ms: number) {
    this.ms = ms;
  }
}

/**
 * Attribute values: TXIDs are passed as `bigint` (printed as 16 hex digits), durations as {@link DurationValue}, errors as
 * Error objects, groups as nested plain objects. `undefined` attributes are left out.
 */
export type LogValue =
  | string
  | number
  | boolean
  | bigint
  | Error
  | DurationValue
  | readonly string[]
  | { readonly [key: string]: LogValue | undefined }
  | undefined;

/** Ordered attributes of one record. */
export type LogAttributes = Readonly<Record<string, LogValue>>;

/** Receives log records. Message texts are constant strings; what varies is an attribute. */
export interface Logger {
  log(level: LogLevel, message: string, attributes?: LogAttributes): void;
  /** True if records of this level are written: guards the building of expensive attributes. */
  enabled(level: LogLevel): boolean;
  /** A logger whose records start with these attributes. */
  with(attributes: LogAttributes): Logger;
}

/** Metric labels: `db` (path), `mode`, `status`, `operation`, `replica_type`, `code`. */
export type MetricLabels = Readonly<Record<string, string>>;

/** Everything that is counted or measured. Spec: interfaces 4 and 8.2. */
export type MetricName =
  | 'litestream_checkpoint_count'
  | 'litestream_checkpoint_error_count'
  | 'litestream_checkpoint_seconds'
  | 'litestream_compaction_backlog'
  | 'litestream_compaction_verify_error_count'
  | 'litestream_db_size'
  | 'litestream_disk_full'
  | 'litestream_l0_retention_files_total'
  | 'litestream_last_verified_timestamp'
  | 'litestream_queue_merge_count'
  | 'litestream_replica_lag_seconds'
  | 'litestream_replica_operation_bytes'
  | 'litestream_replica_operation_duration_seconds'
  | 'litestream_replica_operation_errors_total'
  | 'litestream_replica_operation_total'
  | 'litestream_replica_txid'
  | 'litestream_sync_count'
  | 'litestream_sync_error_count'
  | 'litestream_sync_seconds'
  | 'litestream_total_wal_bytes'
  | 'litestream_txid'
  | 'litestream_unhealthy'
  | 'litestream_upkeep_error_count'
  | 'litestream_verify_count'
  | 'litestream_verify_damage'
  | 'litestream_verify_seconds'
  | 'litestream_wal_size';

/** Receives counts and measurements. Each metric is a counter, a gauge or a histogram, and is written to in one way only. */
export interface Metrics {
  /** Adds to a counter; 0 makes the series exist. */
  add(name: MetricName, labels: MetricLabels, value: number): void;
  /** Sets a gauge. */
  set(name: MetricName, labels: MetricLabels, value: number): void;
  /** Adds one observation to a histogram. */
  observe(name: MetricName, labels: MetricLabels, value: number): void;
}

export const noopLogger: Logger = {
  log() {
    // Silence is the default of an embedded engine.
  },
  enabled: () => false,
  with: () => noopLogger,
};

export const noopMetrics: Metrics = {
  add() {
    // Nobody listens.
  },
  set() {
    // Nobody listens.
  },
  observe() {
    // Nobody listens.
  },
};
