import type { Clock } from '../../lib/clock.ts';
import { identify } from '../../sqlite/index.ts';

/** A monitor that has not completed a turn for so much longer than its interval is not keeping up. */
const TURN_SLACK_MS = 1000;

/** When a database was opened, and when its monitor last came round. */
export class TurnTimes {
  readonly #clock: Clock;
  /** Monotonic milliseconds. */
  readonly openedAt: number;
  /** Begin of the last turn that reached the end of the WAL, monotonic and wall clock. */
  #beganAt: number;
  #beganWallMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.openedAt = this.#beganAt = clock.monotonic();
    this.#beganWallMs = clock.now();
  }

  /** Notes the begin of a turn when it has come to its end. */
  begin(): () => void {
    const [at, wallMs] = [this.#clock.monotonic(), this.#clock.now()];
    return () => {
      this.#beganAt = at;
      this.#beganWallMs = wallMs;
    };
  }

  /**
   * Milliseconds for which a monitor that is late has seen nothing of a file that has changed since; else 0.
   *
   * @param isOpen - else the file is new, whatever its age.
   */
  unseenMs(path: string, intervalMs: number, isOpen: boolean): number {
    const elapsed = this.#clock.monotonic() - this.#beganAt;
    if (elapsed < 2 * intervalMs + TURN_SLACK_MS) return 0;
    const changedNs = changedAt(path);
    if (changedNs === undefined) return 0;
    const seenNs = BigInt(Math.floor(this.#beganWallMs)) * 1_000_000n;
    return !isOpen || changedNs > seenNs ? elapsed : 0;
  }
}

/** Change time of a file in nanoseconds; undefined if it is not there or cannot be looked at. */
function changedAt(path: string): bigint | undefined {
  try {
    return identify(path)?.changedNs;
  } catch {
    return undefined;
  }
}
