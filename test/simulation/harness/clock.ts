import { type Clock, type TimerHandle, yieldToLoop } from '../../../src/lib/clock.ts';

/** 2025-01-01T00:00:00Z. */
const START_MS = 1_735_689_600_000;
/** What one look at the clock costs: loops that wait for a moment without sleeping reach it. */
const TICK_MS = 0.02;
/** Turns of the event loop without an end of the work before the next timer fires. */
const TURNS = 3;
/** Timers that may fire for one piece of work: beyond, it waits for something that never comes. */
const TIMERS_MAX = 20_000;

interface Timer {
  readonly due: number;
  readonly callback: () => void;
}

/** Time that moves a little with every look at it, and to the next timer when all work waits. */
export class SimulatedClock implements Clock {
  #now = START_MS;
  #monotonic = 0;
  readonly #timers = new Set<Timer>();
  /** Called at every look at the monotonic clock. */
  onLook: () => void = () => undefined;

  now(): number {
    return Math.floor(this.#now);
  }

  monotonic(): number {
    this.onLook();
    this.#move(TICK_MS);
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

  get pending(): number {
    return this.#timers.size;
  }

  /** The process whose timers these were is dead. */
  forget(): void {
    this.#timers.clear();
  }

  /** Time passes; nothing sleeps. */
  pass(ms: number): void {
    this.#move(ms);
  }

  /** The wall clock is set, forwards or backwards. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /** Waits for the work, firing a timer whenever it seems to wait for one. */
  async drive<T>(work: Promise<T>): Promise<T> {
    const state = { settled: false };
    const mark = (): void => {
      state.settled = true;
    };
    work.then(mark, mark);
    for (let fired = 0; ; fired++) {
      for (let turn = 0; turn < TURNS && !state.settled; turn++) await yieldToLoop();
      if (state.settled) return work;
      if (fired > TIMERS_MAX) throw new Error('work never ends');
      this.#fireNext();
    }
  }

  #fireNext(): void {
    let next: Timer | undefined;
    for (const timer of this.#timers) if (next === undefined || timer.due < next.due) next = timer;
    if (next === undefined) return;
    this.#timers.delete(next);
    this.#move(Math.max(0, next.due - this.#monotonic));
    next.callback();
  }

  #move(ms: number): void {
    this.#monotonic += ms;
    this.#now += ms;
  }
}
