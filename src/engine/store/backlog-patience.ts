import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../db/database.ts';
import type { Replica } from '../replica/replica.ts';

/** Files that a replica may lack when a snapshot of it is begun: those have to be uploaded first. */
const FILES_MAX = 64;
/** So long a snapshot waits for a replica that gets on, but does not catch up. */
const PATIENCE_MS = 10 * 60_000;

/**
 * A snapshot uploads what it stands for first, and whoever else wants to work on the replica waits for that. So one that is far behind
 * is left to its upload loop, but not for ever: how much may wait is bounded, and a replica that takes files takes those, too.
 */
export class BacklogPatience {
  readonly #clock: Clock;
  #since: { readonly at: number; readonly position: bigint } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True if a snapshot had better wait. */
  async isTooFarBehind(database: Database, replica: Replica): Promise<boolean> {
    const { position = 0n } = replica;
    if (!(await lacksMany(database, position))) {
      this.#since = undefined;
      return false;
    }
    const at = this.#clock.monotonic();
    this.#since ??= { at, position };
    // A store that takes nothing would only be asked in vain.
    return at - this.#since.at < PATIENCE_MS || position === this.#since.position;
  }

  /** The snapshot has been written. */
  reset(): void {
    this.#since = undefined;
  }
}

async function lacksMany({ files, txid }: Database, position: bigint): Promise<boolean> {
  if (txid - position <= FILES_MAX) return false;
  try {
    return (await files.list()).filter((file) => file > position).length > FILES_MAX;
  } catch {
    // The snapshot will say what is wrong.
    return false;
  }
}
