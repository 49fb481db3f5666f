import { type Clock, type TimerHandle, yieldToLoop } from '../lib/clock.ts';

/** 2025-01-01T00:00:00Z. */
const START_MS = 1_735_689_600_000;
/** Turns of the event loop that follow each fired timer: enough for chains of promises and a short file operation. */
const TURNS = 8;

interface Timer {
  readonly due: number;
  readonly callback: () => void;
}

/** Time that stands still until a test moves it. */
export class FakeClock implements Clock {
  #now: number;
  #monotonic = 0;
  readonly #timers = new Set<Timer>();

  /** @param startMs - wall-clock time at the beginning. */
  constructor(startMs: number = START_MS) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  timer(ms: number, callback: () => void): TimerHandle {
    const timer = { due: this.#monotonic + Math.max(0, ms), callback };
    this.#timers.add(timer);
    return {
      cancel: () => {
        this.#timers.delete(timer);
      },
    };
  }

  /** Timers that have not fired. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Milliseconds until the next timer is due; undefined without timers. */
  get nextTimerIn(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : next.due - this.#monotonic;
  }

  /**
   * Moves time forward and fires every timer that falls due, in order, also those set on the way. After each of them, and at
   * the start and the end, the event loop takes a few turns, so that what waited for it can go on.
   */
  async advance(ms: number): Promise<void> {
    const target = this.#monotonic + ms;
    await this.settle();
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.due > target) break;
      this.#fire(next);
      await this.settle();
    }
    this.#moveTo(target);
    await this.settle();
  }

  /** Moves the wall clock alone, as an administrator or a time server does. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /** Lets the event loop take a few turns. */
  async settle(turns: number = TURNS): Promise<void> {
    for (let turn = 0; turn < turns; turn++) await yieldToLoop();
  }

  /**
   * Fires timer after timer until the promise settles. Only for work that waits for nothing but this clock: real input and
   * output takes no time here, so that a timeout around it would fire at once.
   */
  async runUntil<T>(work: Promise<T>): Promise<T> {
    const state = { settled: false };
    const mark = (): void => {
      state.settled = true;
    };
    work.then(mark, mark);
    for (;;) {
      await this.settle();
      if (state.settled) return work;
      const next = this.#next();
      if (next !== undefined) this.#fire(next);
    }
  }

  #next(): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (first === undefined || timer.due < first.due) first = timer;
    }
    return first;
  }

  #fire(timer: Timer): void {
    this.#timers.delete(timer);
    this.#moveTo(timer.due);
    timer.callback();
  }

  #moveTo(monotonic: number): void {
    const step = Math.max(0, monotonic - this.#monotonic);
    this.#monotonic += step;
    this.#now += step;
  }
}
