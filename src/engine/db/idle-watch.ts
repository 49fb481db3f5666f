import type { Clock, TimerHandle } from '../../lib/clock.ts';

/** Looks that fall into the same moment share a timer. */
const GRAIN_MS = 25;

/** Somebody who waits, and is looked after meanwhile. */
export interface Idler {
  /** Monotonic milliseconds of the next look. */
  due: number;
  readonly intervalMs: number;
  /** True if the wait may go on. */
  readonly isIdle: () => boolean;
  /** Ends the wait. */
  readonly wake: () => void;
}

/**
 * Looks after everybody who waits, with one timer for all: a thousand timers, and what hangs on them, live just long enough to be the
 * garbage collector's most expensive kind.
 */
export class IdleWatch {
  readonly #clock: Clock;
  readonly #idlers = new Set<Idler>();
  #timer: TimerHandle | undefined;
  #timerDue = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(idler: Idler): void {
    this.#idlers.add(idler);
    this.#arm(idler.due);
  }

  remove(idler: Idler): void {
    this.#idlers.delete(idler);
    if (this.#idlers.size > 0) return;
    this.#timer?.cancel();
    this.#timerDue = Infinity;
  }

  #arm(due: number): void {
    if (due >= this.#timerDue) return;
    this.#timer?.cancel();
    this.#timerDue = due;
    this.#timer = this.#clock.timer(due - this.#clock.monotonic(), () => this.#look());
  }

  #look(): void {
    this.#timerDue = Infinity;
    const now = this.#clock.monotonic();
    let next = Infinity;
    for (const idler of this.#idlers) {
      // A fraction of a millisecond early is in time.
      if (idler.due <= now + 1) {
        if (!idler.isIdle()) {
          this.#idlers.delete(idler);
          idler.wake();
          continue;
        }
        idler.due = now + idler.intervalMs;
      }
      next = Math.min(next, idler.due);
    }
    if (next < Infinity) this.#arm(Math.max(next, now + GRAIN_MS));
  }
}

const shared = new WeakMap<Clock, IdleWatch>();

/** The one of all databases of this clock. */
export function idleWatch(clock: Clock): IdleWatch {
  const watch = shared.get(clock) ?? new IdleWatch(clock);
  shared.set(clock, watch);
  return watch;
}
