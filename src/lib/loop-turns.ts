import { type Clock, yieldToLoop } from './clock.ts';

/** Bounds how long work that never waits keeps the event loop, whoever does it. */
export class LoopTurns {
  readonly #clock: Clock;
  readonly #turnMs: number;
  #began: number | undefined;
  #next: Promise<void> | undefined;

  /** @param turnMs - how long one turn may last */
  constructor(clock: Clock, turnMs: number) {
    this.#clock = clock;
    this.#turnMs = turnMs;
  }

  /** True if the caller should wait for {@link next} and ask again. The first question in a turn begins its time. */
  isOver(): boolean {
    const now = this.#clock.monotonic();
    if (this.#began !== undefined) return now - this.#began >= this.#turnMs;
    this.#began = now;
    void this.next();
    return false;
  }

  /** Resolves in the next turn. */
  next(): Promise<void> {
    this.#next ??= this.#begin();
    return this.#next;
  }

  async #begin(): Promise<void> {
    await yieldToLoop();
    this.#began = this.#next = undefined;
  }
}
