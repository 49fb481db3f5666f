import type { DatabaseOptions } from '../options.ts';

/** Transaction files that may be saved up while a database is quiet. */
const TOKENS_MAX = 120;
/** Spacing after the first file of a burst; doubles with each further one. */
const SPACING_MS_FIRST = 10;

/**
 * Decides when the next transaction file may be written: a token bucket with one token per interval and at most 120 saved, so
 * that commits after quiet are replicated within milliseconds while sustained load makes no more files than the reference
 * (one per interval). While commits keep coming the spacing doubles up to the interval, so that a burst does not spend the
 * savings of a day. An interval that the user set is a hard minimum spacing. Spec: design 3.6.
 *
 * Times are milliseconds of the monotonic clock.
 */
export class Pace {
  readonly #intervalMs: number;
  readonly #explicit: boolean;
  #tokens = TOKENS_MAX;
  #refilledAt: number;
  #lastAt = -Infinity;
  #spacingMs = 0;

  constructor(options: {
    readonly intervalMs: number;
    readonly explicit: boolean;
    readonly now: number;
  }) {
    this.#intervalMs = Math.max(1, options.intervalMs);
    this.#explicit = options.explicit;
    this.#refilledAt = options.now;
  }

  /** Milliseconds until a file may be written; 0 = now. */
  readyIn(now: number): number {
    if (this.#explicit) return Math.max(0, this.#lastAt + this.#intervalMs - now);
    this.#refill(now);
    const spaced = Math.max(0, this.#lastAt + this.#spacingMs - now);
    if (this.#tokens >= 1) return spaced;
    return Math.max(spaced, this.#refilledAt + this.#intervalMs - now);
  }

  /** A file is being written now. */
  take(now: number): void {
    this.#refill(now);
    this.#tokens = Math.max(0, this.#tokens - 1);
    this.#lastAt = now;
    this.#spacingMs = Math.min(this.#intervalMs, Math.max(SPACING_MS_FIRST, this.#spacingMs * 2));
  }

  /** A capture found nothing: the burst is over. */
  quiet(): void {
    this.#spacingMs = 0;
  }

  #refill(now: number): void {
    const earned = Math.floor((now - this.#refilledAt) / this.#intervalMs);
    if (earned <= 0) return;
    this.#tokens = Math.min(TOKENS_MAX, this.#tokens + earned);
    this.#refilledAt += earned * this.#intervalMs;
  }
}

/** Spacing of transaction files: what the user set, else the replicas' interval at the token bucket's pace. */
export function captureInterval(options: DatabaseOptions): {
  intervalMs: number;
  explicit: boolean;
} {
  if (options.monitorIntervalExplicit) {
    return { intervalMs: options.monitorIntervalMs, explicit: true };
  }
  const intervals = options.replicas.map((replica) => replica.syncIntervalMs);
  return {
    intervalMs: Math.max(1, Math.min(...intervals)),
    explicit: options.replicas.every((replica) => replica.syncIntervalExplicit),
  };
}
