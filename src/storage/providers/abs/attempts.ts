import { abortError, type Clock, isAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import { withRetries } from '../../http/index.ts';
import { prefixed, storageError } from './errors.ts';

const ATTEMPTS = 10;
const FIRST_WAIT_MS = 200;
const WAIT_MS_MAX = 5000;
const TOTAL_MS_MAX = 120_000;
/** Longest wait for an answer, beside the time that its bytes take. */
const ANSWER_MS_MAX = 30_000;
/** Slower connections are taken for dead. */
const BYTES_PER_MS_MIN = 32;

export interface AttemptPorts {
  readonly clock: Clock;
  readonly random: () => number;
  /** Fires when the client is closed. */
  readonly closing: AbortSignal;
}

export interface AttemptOptions {
  /** What is attempted, as the beginning of an error message. */
  readonly what: string;
  readonly signal?: AbortSignal | undefined;
  /** Bytes that are sent with one attempt. */
  readonly bytes?: number | undefined;
}

/** Runs requests with our own retries and time-outs; those of the SDK are switched off. */
export class Attempts {
  readonly #ports: AttemptPorts;

  constructor(ports: AttemptPorts) {
    this.#ports = ports;
  }

  /**
   * @param request - gets a signal that fires on the caller's abort, on close, and when an answer takes too long. It must
   *   settle soon after that.
   */
  async run<T>(options: AttemptOptions, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, random } = this.#ports;
    const { what, signal } = options;
    try {
      return await withRetries(() => this.#once(options, request), {
        clock,
        random,
        attempts: ATTEMPTS,
        baseMs: FIRST_WAIT_MS,
        maxMs: WAIT_MS_MAX,
        totalMs: TOTAL_MS_MAX,
        signal: this.signal(signal),
        what,
        // The same list of blocks stays invalid.
        isRetryable: (error) =>
          error instanceof LitestreamError &&
          error.retryable &&
          error.details['code'] !== 'InvalidBlockList',
      });
    } catch (error) {
      throw prefixed(what, error);
    }
  }

  /** Fires with the caller's signal and when the client is closed. */
  signal(caller: AbortSignal | undefined): AbortSignal {
    const { closing } = this.#ports;
    return caller === undefined ? closing : AbortSignal.any([caller, closing]);
  }

  async #once<T>(
    { signal: caller, bytes = 0 }: AttemptOptions,
    request: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { clock } = this.#ports;
    const signal = this.signal(caller);
    const limitMs = ANSWER_MS_MAX + bytes / BYTES_PER_MS_MIN;
    const limit = new AbortController();
    const timer = clock.timer(limitMs, () => limit.abort());
    try {
      return await request(AbortSignal.any([signal, limit.signal]));
    } catch (error) {
      if (isAborted(signal)) throw abortError(signal);
      if (isAborted(limit.signal)) throw silence(limitMs);
      throw storageError(error, clock);
    } finally {
      timer.cancel();
    }
  }
}

function silence(limitMs: number): LitestreamError {
  const message = `no answer for ${Math.round(limitMs / 1000)} s`;
  return new LitestreamError('ERR_STORAGE_TEMPORARY', message, {
    retryable: true,
    details: { timeoutMs: limitMs },
    hint: 'check the network, the firewall and the endpoint',
  });
}
