import { throwIfAborted, unlessAborted } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';

interface Attempt {
  readonly promise: Promise<void>;
  readonly abort: AbortController;
  waiters: number;
  done: boolean;
}

/**
 * One piece of work for all who want it: whoever comes while it runs shares the next one, which begins after the call. An attempt that
 * nobody waits for any more is aborted. Spec: failures OPS-12.
 */
export class SharedAttempt {
  readonly #work: (signal: AbortSignal) => Promise<void>;
  #running: Promise<void> = Promise.resolve();
  #next: Attempt | undefined;

  constructor(work: (signal: AbortSignal) => Promise<void>) {
    this.#work = work;
  }

  /** Waits for an attempt that begins after this call. @throws what the attempt throws, `ERR_ABORTED` when the signal fires */
  async join(signal?: AbortSignal): Promise<void> {
    const attempt = (this.#next ??= this.#plan());
    attempt.waiters++;
    try {
      await unlessAborted(attempt.promise, signal);
    } finally {
      attempt.waiters--;
      if (attempt.waiters === 0 && !attempt.done) this.#giveUp(attempt);
    }
  }

  #giveUp(attempt: Attempt): void {
    attempt.abort.abort(canceled());
    if (this.#next === attempt) this.#next = undefined;
  }

  #plan(): Attempt {
    const abort = new AbortController();
    const promise = this.#running.then(async () => {
      this.#next = undefined;
      throwIfAborted(abort.signal);
      await this.#work(abort.signal);
    });
    const attempt: Attempt = { promise, abort, waiters: 0, done: false };
    const end = (): void => {
      attempt.done = true;
    };
    // Failures belong to those who wait; the next attempt follows in any case.
    this.#running = promise.then(end, end);
    return attempt;
  }
}

function canceled(): LitestreamError {
  return new LitestreamError('ERR_ABORTED', 'context canceled');
}
