import type { Clock, TimerHandle } from '../../lib/clock.ts';

/**
 * Calls back once nothing has been reported for a while. One timer serves many reports: it is set anew when it fires early,
 * not at each report.
 */
export class IdleWatch {
  readonly #clock: Clock;
  readonly #onSilence: () => void;
  #limitMs = 0;
  #since = 0;
  #timer: TimerHandle | undefined;

  constructor(clock: Clock, onSilence: () => void) {
    this.#clock = clock;
    this.#onSilence = onSilence;
  }

  /** Begins to wait, or begins anew. */
  start(limitMs: number): void {
    this.#limitMs = limitMs;
    this.#since = this.#clock.monotonic();
    if (this.#timer !== undefined) return;
    this.#arm(limitMs);
  }

  /** Something has moved. */
  touch(): void {
    this.#since = this.#clock.monotonic();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(ms: number): void {
    this.#timer = this.#clock.timer(ms, () => {
      this.#timer = undefined;
      const left = this.#since + this.#limitMs - this.#clock.monotonic();
      if (left > 0) this.#arm(left);
      else this.#onSilence();
    });
  }
}
