import type { ReadReplicaConfig } from './read-replica-config.ts';
import type { DatabaseKeys, ReplicaKeys, ReplicaSettingKeys } from './keys.ts';

/** Variables of the environment, read once at start. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A replica's keys after inheritance, plus whether the file set the pace itself. */
export type ReplicaConfig = ReplicaKeys;

/** One `dbs` entry after inheritance: a file (`path`, absolute) or a folder (`dir`, as written). Durations are milliseconds. */
export interface DatabaseConfig {
  /** Absolute and clean; empty for a folder entry. */
  readonly path: string;
  /** As written; empty for a file entry. */
  readonly dir: string;
  readonly pattern: string;
  readonly recursive: boolean;
  readonly watch: boolean;
  /** As written. */
  readonly metaPath: string;
  /** As written. */
  readonly metaDir: string;
  readonly monitorIntervalMs: number;
  readonly monitorIntervalExplicit: boolean;
  readonly checkpointIntervalMs: number;
  readonly busyTimeoutMs: number;
  readonly minCheckpointPages: number;
  readonly truncatePages: number;
  readonly maxSyncWalBytes: number;
  readonly restoreIfMissing: boolean;
  /** The entry's own threshold; undefined = that of the file. */
  readonly lagAlertMs: number | undefined;
  readonly snapshot: NonNullable<DatabaseKeys['snapshot']>;
  /** The `replica` block, if any. */
  readonly replica: ReplicaConfig | undefined;
  /** The entries of `replicas`. */
  readonly replicas: readonly ReplicaConfig[];
  /** The entries of `read-replicas`. */
  readonly readReplicas: readonly ReadReplicaConfig[];
}

/** `logging`. `level` and `type` are as written, empty if absent. */
export interface LoggingConfig {
  readonly level: string;
  readonly type: string;
  readonly stderr: boolean;
  readonly source: boolean;
}

/** A validated configuration. Durations are milliseconds. Spec: config 4. */
export interface Config {
  readonly addr: string;
  readonly mcpAddr: string;
  readonly socket: {
    readonly enabled: boolean;
    readonly path: string;
    readonly permissions: number;
  };
  /** Levels 1, 2, … in order. */
  readonly levels: readonly { readonly intervalMs: number }[];
  readonly snapshotIntervalMs: number;
  readonly snapshotRetentionMs: number;
  /** ≤ 0 = off. */
  readonly validationIntervalMs: number;
  readonly l0RetentionMs: number;
  readonly l0RetentionCheckIntervalMs: number;
  readonly verifyCompaction: boolean;
  readonly retentionEnabled: boolean;
  readonly heartbeatUrl: string;
  readonly heartbeatIntervalMs: number;
  /** Undefined = the default, which depends on each replica. */
  readonly watchdogThresholdMs: number | undefined;
  readonly lagAlertMs: number;
  readonly shutdownSyncTimeoutMs: number;
  readonly shutdownSyncIntervalMs: number;
  readonly exec: string;
  readonly logging: LoggingConfig;
  /** The file's settings for all replicas; those of `databases` have them already. */
  readonly replicaDefaults: ReplicaSettingKeys;
  readonly databases: readonly DatabaseConfig[];
}

/** Something in the file that is accepted but worth a WARN line. */
export interface ConfigWarning {
  readonly message: string;
  /** True: of interest to the log of a daemon, not to every command. */
  readonly logOnly?: boolean;
  readonly attributes: Readonly<Record<string, string>>;
}
