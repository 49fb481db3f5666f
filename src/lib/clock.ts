import { LitestreamError } from './errors.ts';

/** Node fires timers above this delay at once; longer waits are re-armed. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Handle of a pending {@link Clock.timer}. */
export interface TimerHandle {
  cancel(): void;
  /** Lets the process end before the timer fires. Does nothing to clocks that do not keep it alive. */
  unref?(): void;
}

/**
 * The only source of time. Injected everywhere, so that tests run days in milliseconds.
 *
 * `now` is wall-clock time in whole milliseconds since the Unix epoch and may jump; `monotonic` is in milliseconds with
 * fraction, never goes back, and is the one to measure durations with.
 */
export interface Clock {
  now(): number;
  monotonic(): number;
  /** Calls back once after `ms` (any size; values below 0 count as 0). */
  timer(ms: number, callback: () => void): TimerHandle;
}

/** Real time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(ms, callback) {
    const due = performance.now() + Math.max(0, ms);
    let handle: NodeJS.Timeout;
    let keepsAlive = true;
    const arm = (): void => {
      const left = due - performance.now();
      handle =
        left > TIMER_MS_MAX
          ? setTimeout(arm, TIMER_MS_MAX)
          : setTimeout(callback, Math.max(0, left));
      if (!keepsAlive) handle.unref();
    };
    arm();
    return {
      cancel: () => clearTimeout(handle),
      unref: () => {
        keepsAlive = false;
        handle.unref();
      },
    };
  },
};

/** The error with which an aborted wait ends. */
export function abortError(signal?: AbortSignal): LitestreamError {
  const reason: unknown = signal?.reason;
  if (reason instanceof LitestreamError) return reason;
  return new LitestreamError('ERR_ABORTED', 'context canceled', { cause: reason });
}

/** @throws LitestreamError `ERR_ABORTED` if the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal);
}

/** True if the signal has fired by now. A function, because a property is taken for unchanged across an `await`. */
export function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

/**
 * Waits `ms` milliseconds.
 *
 * @throws LitestreamError `ERR_ABORTED` as soon as the signal fires.
 */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(abortError(signal));
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(abortError(signal));
    };
    const timer = clock.timer(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Lets the event loop take one turn. */
export function yieldToLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** The promise's outcome, or `ERR_ABORTED` as soon as the signal fires; the work goes on then. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const done = (): void => signal.removeEventListener('abort', onAbort);
    promise.then(resolve, reject).finally(done);
  });
}
