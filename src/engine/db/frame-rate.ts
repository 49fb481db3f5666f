/** The rate is measured over at least this long, and below one frame in 10 s it is none. */
const WINDOW_MS_MIN = 20;
const RATE_MIN = 0.0001;

/** How fast an application writes, lately. Times are milliseconds of the monotonic clock. */
export class FrameRate {
  /** Frames per millisecond. */
  #rate = 0;
  #at: number;
  #frames = 0;

  constructor(now: number) {
    this.#at = now;
  }

  /** @param framesTotal - frames captured since the begin. */
  note(framesTotal: number, now: number): void {
    const elapsed = now - this.#at;
    if (elapsed < WINDOW_MS_MIN) return;
    this.#rate = Math.max((framesTotal - this.#frames) / elapsed, this.#rate / 2);
    if (this.#rate < RATE_MIN) this.#rate = 0;
    this.#at = now;
    this.#frames = framesTotal;
  }

  /** Milliseconds until so many frames more have come; Infinity if none come. */
  msUntil(frames: number): number {
    return this.#rate === 0 ? Infinity : frames / this.#rate;
  }
}
