import type { Clock } from '../lib/clock.ts';
import type { FileSystem } from '../lib/file-system.ts';
import type { DescriptorSink } from '../sqlite/index.ts';
import type { ReplicaClient } from '../storage/index.ts';
import type { Logger, Metrics } from '../telemetry/index.ts';

/** Everything non-deterministic that the engine uses. */
export interface Ports {
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Where the descriptors of databases go at close instead of being closed; see `LiveDatabase`. */
  readonly descriptorSink?: DescriptorSink | undefined;
}

export interface ReplicaOptions {
  readonly client: ReplicaClient;
  /** The configured name, if any. */
  readonly name?: string | undefined;
  readonly syncIntervalMs: number;
  /** The user set the interval: a hard minimum spacing of uploads. */
  readonly syncIntervalExplicit: boolean;
  /** Files per upload batch; 0 = no limit. */
  readonly maxSyncLtxFiles: number;
  readonly autoRecover: boolean;
  /** Time between complete verifications of the replica; 0 or absent = none. */
  readonly validationIntervalMs?: number | undefined;
  /** This replica's own snapshot period, > 0; absent = the store's. */
  readonly snapshotIntervalMs?: number | undefined;
  /** How long this replica keeps its snapshots, > 0; absent = the store's. */
  readonly retentionMs?: number | undefined;
}

export interface DatabaseOptions {
  /** Absolute, as configured: the database's identity in logs and listings. */
  readonly path: string;
  /** Absolute. */
  readonly metaPath: string;
  /** ≤ 0: no monitor, only explicit syncs. */
  readonly monitorIntervalMs: number;
  readonly monitorIntervalExplicit: boolean;
  /** 0 = no time-based checkpoint. */
  readonly checkpointIntervalMs: number;
  /** How long to keep trying where another connection's lock is in the way. */
  readonly busyTimeoutMs: number;
  readonly minCheckpointPages: number;
  /** 0 = default (121359); negative = never. */
  readonly truncatePages: number;
  /** WAL bytes per transaction file, cut at commit boundaries; 0 = no limit. */
  readonly maxSyncWalBytes: number;
  /** At least one; the first is the default of restore and the control socket. */
  readonly replicas: readonly ReplicaOptions[];
}

export interface LevelOptions {
  /** 1 … 8 */
  readonly level: number;
  readonly intervalMs: number;
}

export interface StoreOptions {
  readonly databases: readonly DatabaseOptions[];
  /** Bound of each database's final sync; 0 = one attempt. */
  readonly shutdownSyncTimeoutMs: number;
  readonly shutdownSyncIntervalMs: number;
  readonly levels: readonly LevelOptions[];
  readonly snapshotIntervalMs: number;
  readonly snapshotRetentionMs: number;
  readonly l0RetentionMs: number;
  readonly l0RetentionCheckIntervalMs: number;
  readonly retentionEnabled: boolean;
  readonly verifyCompaction: boolean;
  /**
   * Bytes from which on a file with the whole database is not repeated on each level, where a snapshot holds the same; absent = 4 MiB.
   */
  readonly wholeFileBytesMin?: number | undefined;
  /** Time between checks that each level's TXIDs are contiguous; 0 or absent = none. */
  readonly validationIntervalMs?: number | undefined;
  /** False: nothing runs by itself, only explicit syncs (`-once`). */
  readonly monitors: boolean;
}

/** See {@link StoreOptions.wholeFileBytesMin}: below, every level alone can be restored, as the reference has it. */
export const WHOLE_FILE_BYTES_MIN: number = 4 * 1024 * 1024;

/** `truncate-page-n`: about 500 MB of 4 KiB pages. */
export const TRUNCATE_PAGES_DEFAULT = 121_359;
