/** One entry of `read-replicas`: a local copy of its database, for reading. Spec: config 11.4. */
export interface ReadReplicaConfig {
  /** Unique in the file. */
  readonly name: string;
  /** As written. */
  readonly type: string;
  /** Absolute and clean; empty if the entry gives none. */
  readonly path: string;
  readonly followIntervalMs: number;
  /** The entry's own threshold; undefined = that of its database. */
  readonly lagAlertMs: number | undefined;
  /** As written: `manual` or `auto`. */
  readonly promote: string;
}
