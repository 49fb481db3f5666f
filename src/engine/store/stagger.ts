import type { Clock } from '../../lib/clock.ts';

/** Databases that start at once after a pause. */
const BURST = 50;
/** Then one database per so many milliseconds. */
const SPACING_MS = 2;

/**
 * Spreads the starts of many databases, so that neither the disk nor a store sees a thousand first looks at the same instant. By rate,
 * not by number: a store that never answers holds up nobody else. Spec: failures OPS-07.
 */
export class Stagger {
  readonly #clock: Clock;
  /** Monotonic time of the last start that was given out, less the burst. */
  #at = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds that the next database has to wait. */
  delayMs(): number {
    const now = this.#clock.monotonic();
    this.#at = Math.max(this.#at, now - BURST * SPACING_MS) + SPACING_MS;
    return Math.max(0, this.#at - now);
  }
}
