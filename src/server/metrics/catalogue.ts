import type { MetricName } from '../../telemetry/index.ts';

/** How one metric is exported. Label names are alphabetical. */
export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, ascending. */
  readonly buckets?: readonly number[];
}

const OPERATION = ['operation', 'replica_type'] as const;

/** Every metric of the program; the reference's with its names, types, labels and help texts. Spec: interfaces 4, 8.2. */
export const catalogue: Readonly<Record<MetricName, MetricDefinition>> = {
  litestream_checkpoint_count: {
    type: 'counter',
    help: 'Number of checkpoint operations performed',
    labels: ['db', 'mode'],
  },
  litestream_checkpoint_error_count: {
    type: 'counter',
    help: 'Number of checkpoint errors that have occurred',
    labels: ['db', 'mode'],
  },
  litestream_checkpoint_seconds: {
    type: 'counter',
    help: 'Time spent checkpointing WAL, in seconds',
    labels: ['db', 'mode'],
  },
  litestream_compaction_backlog: {
    type: 'gauge',
    help: 'Number of files of the level below that wait to be compacted, at most of any replica',
    labels: ['db', 'level'],
  },
  litestream_compaction_verify_error_count: {
    type: 'counter',
    help: 'Number of post-compaction verification failures',
    labels: ['db'],
  },
  litestream_db_size: {
    type: 'gauge',
    help: 'The current size of the real DB',
    labels: ['db'],
  },
  litestream_disk_full: {
    type: 'gauge',
    help: 'Whether replication is paused because the local disk is full',
    labels: ['db'],
  },
  litestream_l0_retention_files_total: {
    type: 'gauge',
    help: 'Number of L0 files by status during retention enforcement',
    labels: ['db', 'status'],
  },
  litestream_last_verified_timestamp: {
    type: 'gauge',
    help: 'Time of the last verification that found no damage, in seconds since the Unix epoch',
    labels: ['db', 'replica'],
  },
  litestream_queue_merge_count: {
    type: 'counter',
    help: 'Number of times that files waiting for a replica were merged to save disk space',
    labels: ['db'],
  },
  litestream_replica_lag_seconds: {
    type: 'gauge',
    help: 'Age of the oldest local L0 file that is not in every replica yet, in seconds',
    labels: ['db'],
  },
  litestream_replica_operation_bytes: {
    type: 'counter',
    help: 'The number of bytes used by replica operations',
    labels: OPERATION,
  },
  litestream_replica_operation_duration_seconds: {
    type: 'histogram',
    help: 'Duration of replica operations by type and operation',
    labels: OPERATION,
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60],
  },
  litestream_replica_operation_errors_total: {
    type: 'counter',
    help: 'Number of replica operation errors by type, operation, and error code',
    labels: ['code', ...OPERATION],
  },
  litestream_replica_operation_total: {
    type: 'counter',
    help: 'The number of replica operations performed',
    labels: OPERATION,
  },
  litestream_replica_txid: {
    type: 'gauge',
    help: 'The transaction ID up to which every replica is complete',
    labels: ['db'],
  },
  litestream_sync_count: {
    type: 'counter',
    help: 'Number of sync operations performed',
    labels: ['db'],
  },
  litestream_sync_error_count: {
    type: 'counter',
    help: 'Number of sync errors that have occurred',
    labels: ['db'],
  },
  litestream_sync_seconds: {
    type: 'counter',
    help: 'Time spent syncing shadow WAL, in seconds',
    labels: ['db'],
  },
  litestream_total_wal_bytes: {
    type: 'counter',
    help: 'Total number of bytes written to shadow WAL',
    labels: ['db'],
  },
  litestream_txid: {
    type: 'gauge',
    help: 'The current transaction ID',
    labels: ['db'],
  },
  litestream_unhealthy: {
    type: 'gauge',
    help: 'Whether a replica has been behind its database for longer than the watchdog threshold',
    labels: ['db'],
  },
  litestream_upkeep_error_count: {
    type: 'counter',
    help: 'Number of compactions, snapshots and retention runs that failed',
    labels: ['db'],
  },
  litestream_verify_count: {
    type: 'counter',
    help: 'Number of verifications by result (ok, damage, error)',
    labels: ['db', 'replica', 'result'],
  },
  litestream_verify_damage: {
    type: 'gauge',
    help: 'Findings of damage in the last verification',
    labels: ['db', 'replica'],
  },
  litestream_verify_seconds: {
    type: 'counter',
    help: 'Time spent verifying replicas, in seconds',
    labels: ['db', 'replica'],
  },
  litestream_wal_size: {
    type: 'gauge',
    help: 'The current size of the real WAL',
    labels: ['db'],
  },
};
