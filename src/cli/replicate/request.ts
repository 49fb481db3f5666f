import type { Config, ConfigWarning } from '../../config/index.ts';

/** What `replicate` was asked to do. */
export interface ReplicateRequest {
  readonly config: Config;
  /** Where the configuration was read, as it was typed. */
  readonly configPath: string;
  /** True if variables in it are not expanded. */
  readonly rawConfig: boolean;
  readonly warnings: readonly ConfigWarning[];
  /** The level as the start line shows it; empty if none was given. */
  readonly level: string;
  /** `-log-level`; empty if not given. */
  readonly logLevel: string;
  /** Command to run; empty = none. */
  readonly exec: string;
  readonly restoreIfMissing: boolean;
  readonly once: boolean;
  readonly forceSnapshot: boolean;
  readonly enforceRetention: boolean;
}
