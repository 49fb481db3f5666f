import type { FileIdentity } from '../../sqlite/index.ts';

/** A file whose change time is younger may change again without a new one. */
const SETTLED_NS = 50_000_000n;
/** Every so many idle turns the WAL is read although its times have not changed. */
const IDLE_TURNS_MAX = 10;

/** Tells from `stat` alone that a WAL was read to its end and has not changed since. */
export class UnchangedWal {
  /** The WAL before the capture that last reached its end. */
  #seen: FileIdentity | undefined;
  #idleTurns = 0;

  /** The WAL as it was before a capture that reached its end; undefined = it has to be read in any case. */
  note(stat: FileIdentity | undefined): void {
    this.#seen = stat;
  }

  /** @param nowMs - wall clock. */
  holds(stat: FileIdentity | undefined, nowMs: number): boolean {
    const seen = this.#seen;
    if (stat === undefined || seen === undefined || this.#idleTurns >= IDLE_TURNS_MAX) {
      this.#idleTurns = 0;
      return false;
    }
    const now = BigInt(Math.floor(nowMs)) * 1_000_000n;
    const same =
      stat.ino === seen.ino && stat.size === seen.size && stat.changedNs === seen.changedNs;
    if (!same || now - stat.changedNs < SETTLED_NS) return false;
    this.#idleTurns++;
    return true;
  }
}
