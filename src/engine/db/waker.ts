import { watch, type FSWatcher } from 'node:fs';
import type { Clock } from '../../lib/clock.ts';
import { idleWatch } from './idle-watch.ts';

/**
 * Ends the wait between two passes: a timer, a call of {@link wake}, or, while the database is quiet, the first write to its WAL.
 *
 * A watch that stays open costs 1–2 % of a core at 500 commits a second, so the first event closes it; the caller arms it
 * again when a capture found nothing, and then captures once more. Where watching is impossible the timer alone remains.
 */
export class Waker {
  readonly #clock: Clock;
  #resolve: (() => void) | undefined;
  #watcher: FSWatcher | undefined;
  #woken = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True while a watch is armed. A method: it changes behind the reader's back. */
  isWatching(): boolean {
    return this.#watcher !== undefined;
  }

  /** Watches a file until its first event. */
  arm(path: string): void {
    if (this.#watcher !== undefined) return;
    try {
      const watcher = watch(path, { persistent: false }, () => {
        this.disarm();
        this.wake();
      });
      watcher.on('error', () => {
        this.disarm();
        this.wake();
      });
      this.#watcher = watcher;
    } catch {
      // Out of watches, or a file system without them: the poll is the safety net.
    }
  }

  disarm(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** Ends the current wait, or the next one at once. */
  wake(): void {
    this.#woken = true;
    this.#resolve?.();
  }

  /**
   * Waits for `ms` milliseconds at most; longer, if `isIdle` says each time that nothing has to be done. It must not throw.
   */
  wait(ms: number, isIdle?: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      if (this.#woken) {
        this.#woken = false;
        resolve();
        return;
      }
      const end = (): void => this.#resolve?.();
      const cancel = isIdle === undefined ? this.#timer(ms, end) : this.#watch(ms, isIdle, end);
      this.#resolve = () => {
        cancel();
        this.#woken = false;
        this.#resolve = undefined;
        resolve();
      };
    });
  }

  #timer(ms: number, end: () => void): () => void {
    const timer = this.#clock.timer(ms, end);
    return () => timer.cancel();
  }

  #watch(intervalMs: number, isIdle: () => boolean, wake: () => void): () => void {
    const watch = idleWatch(this.#clock);
    const idler = { due: this.#clock.monotonic() + intervalMs, intervalMs, isIdle, wake };
    watch.add(idler);
    return () => watch.remove(idler);
  }
}
