import type { Clock, TimerHandle } from '../../../../src/lib/clock.ts';

/** The common clock as one daemon has it: its timers are known apart from those of others, and end with it. */
export class DaemonClock implements Clock {
  readonly #clock: Clock;
  readonly #timers = new Set<TimerHandle>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Timers that have not fired yet. */
  get pending(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#clock.now();
  }

  monotonic(): number {
    return this.#clock.monotonic();
  }

  timer(ms: number, callback: () => void): TimerHandle {
    const timer = this.#clock.timer(ms, () => {
      this.#timers.delete(handle);
      callback();
    });
    const handle: TimerHandle = {
      cancel: () => {
        this.#timers.delete(handle);
        timer.cancel();
      },
    };
    this.#timers.add(handle);
    return handle;
  }

  /** The daemon is dead: what it waited for never comes. */
  forget(): void {
    for (const timer of this.#timers) timer.cancel();
  }
}
