import { abortError } from './clock.ts';

/** Releases what {@link Mutex.acquire} gave. Calling it twice does nothing. */
export type Release = () => void;

interface Waiter {
  readonly grant: () => void;
}

/** A lock with a FIFO queue of abortable waits. */
export class Mutex {
  #held = false;
  readonly #queue = new Set<Waiter>();

  get held(): boolean {
    return this.#held;
  }

  get waiters(): number {
    return this.#queue.size;
  }

  /** @throws LitestreamError `ERR_ABORTED` when the signal fires while waiting. */
  acquire(signal?: AbortSignal): Promise<Release> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(abortError(signal));
        return;
      }
      if (!this.#held) {
        this.#held = true;
        resolve(this.#releaser());
        return;
      }
      const onAbort = (): void => {
        this.#queue.delete(waiter);
        reject(abortError(signal));
      };
      const waiter: Waiter = {
        grant: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve(this.#releaser());
        },
      };
      this.#queue.add(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Runs `body` while holding the lock. */
  async run<T>(body: () => Promise<T> | T, signal?: AbortSignal): Promise<T> {
    const release = await this.acquire(signal);
    try {
      return await body();
    } finally {
      release();
    }
  }

  #releaser(): Release {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const [next] = this.#queue;
      if (next === undefined) {
        this.#held = false;
        return;
      }
      this.#queue.delete(next);
      next.grant();
    };
  }
}
