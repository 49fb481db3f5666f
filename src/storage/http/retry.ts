import { type Clock, isAborted, sleep, throwIfAborted } from '../../lib/clock.ts';
import {
  type ErrorCode,
  errorMessage,
  LitestreamError,
  type LitestreamErrorInit,
} from '../../lib/errors.ts';
import { parseHttpDate } from './date.ts';

/** No server keeps a client waiting for longer at a time. */
const RETRY_AFTER_MAX_MS = 300_000;

export interface HttpStatusErrorInit extends LitestreamErrorInit {
  readonly status: number;
  /** Default: by the status, see {@link statusCode}. */
  readonly code?: ErrorCode | undefined;
  /** The server's name for the problem: `SlowDown`. */
  readonly providerCode?: string | undefined;
  /** From `Retry-After`; the next attempt is not made before. */
  readonly retryAfterMs?: number | undefined;
}

/** An answer that is no success. Retryable by its status unless told otherwise. */
export class HttpStatusError extends LitestreamError {
  override readonly name: string = 'HttpStatusError';
  readonly status: number;
  readonly providerCode: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, init: HttpStatusErrorInit) {
    const { status, code, providerCode, retryAfterMs, details, ...rest } = init;
    super(code ?? statusCode(status), message, {
      retryable: isRetryableStatus(status),
      ...rest,
      details: { status, ...(providerCode !== undefined && { providerCode }), ...details },
    });
    this.status = status;
    this.providerCode = providerCode;
    this.retryAfterMs = retryAfterMs;
  }
}

/** True for 408, 429 and 5xx but those that no repetition cures (501, 505, 507). */
export function isRetryableStatus(status: number): boolean {
  if (status === 501 || status === 505 || status === 507) return false;
  return status === 408 || status === 429 || (status >= 500 && status <= 599);
}

/** The code of a status that has no special meaning: denied, not found, disk full, temporary, or a plain storage error. */
export function statusCode(status: number): ErrorCode {
  if (status === 401 || status === 403 || status === 407) return 'ERR_STORAGE_DENIED';
  if (status === 404) return 'ERR_STORAGE_NOT_FOUND';
  if (status === 507) return 'ERR_DISK_FULL';
  return isRetryableStatus(status) ? 'ERR_STORAGE_TEMPORARY' : 'ERR_STORAGE';
}

/** The wait in a `Retry-After` header (seconds or a date) in milliseconds; undefined without one or for nonsense. */
export function retryAfterMs(
  headers: Readonly<Record<string, string>>,
  clock: Pick<Clock, 'now'>,
): number | undefined {
  const text = headers['retry-after']?.trim();
  if (text === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text) * 1000;
  const date = parseHttpDate(text);
  return date === undefined ? undefined : Math.max(0, date - clock.now());
}

export interface RetryOptions {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  /** Calls of the attempt in all, at least 1. */
  readonly attempts: number;
  /** Upper bound of the first wait; it doubles with each further one. */
  readonly baseMs: number;
  /** Upper bound of each wait, unless the server asks for more. */
  readonly maxMs: number;
  /** No wait begins that would end later than this after the start. */
  readonly totalMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** What is attempted, for the error: `put object p/0000/…`. */
  readonly what: string;
  /** Default: the error's own `retryable`. */
  readonly isRetryable?: ((error: unknown) => boolean) | undefined;
}

/**
 * Runs `attempt` until it succeeds, fails for good, or a bound is reached. Waits grow exponentially with full jitter; a
 * server's `Retry-After` is a lower bound. There is no budget shared between calls: a long outage costs later calls nothing.
 *
 * @throws the first error that no repetition cures, as it is; else the last one, with `what`, the number of attempts and the
 * time before its message.
 */
export async function withRetries<T>(
  attempt: (n: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { clock, signal, isRetryable = isRetryableError } = options;
  const startedAt = clock.monotonic();
  for (let n = 1; ; n++) {
    throwIfAborted(signal);
    try {
      return await attempt(n);
    } catch (error) {
      if (isAborted(signal) || !isRetryable(error)) throw error;
      const elapsedMs = clock.monotonic() - startedAt;
      const delayMs = delayBefore(n, error, options);
      const bound = reachedBound(n, elapsedMs + delayMs, options);
      if (bound !== undefined)
        throw n === 1 ? error : gaveUp(error, { n, elapsedMs, bound }, options);
      await sleep(clock, delayMs, signal);
    }
  }
}

function isRetryableError(error: unknown): boolean {
  return error instanceof LitestreamError && error.retryable && error.code !== 'ERR_ABORTED';
}

function delayBefore(n: number, error: unknown, options: RetryOptions): number {
  const { random, baseMs, maxMs } = options;
  const jittered = random() * Math.min(maxMs, baseMs * 2 ** (n - 1));
  const asked = error instanceof HttpStatusError ? (error.retryAfterMs ?? 0) : 0;
  return Math.max(jittered, Math.min(asked, RETRY_AFTER_MAX_MS));
}

function reachedBound(
  n: number,
  nextAtMs: number,
  { attempts, totalMs }: RetryOptions,
): string | undefined {
  if (n >= attempts) return `limit ${attempts} attempts`;
  if (totalMs !== undefined && nextAtMs > totalMs) return `limit ${seconds(totalMs)}`;
  return undefined;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}

function gaveUp(
  error: unknown,
  { n, elapsedMs, bound }: { n: number; elapsedMs: number; bound: string },
  { what }: RetryOptions,
): LitestreamError {
  const message = `${what}: gave up after ${n} attempts in ${seconds(elapsedMs)} (${bound}): ${errorMessage(error)}`;
  if (!(error instanceof LitestreamError))
    return new LitestreamError('ERR_STORAGE', message, { cause: error });
  return new LitestreamError(error.code, message, {
    cause: error,
    retryable: error.retryable,
    details: { ...error.details, attempts: n },
    ...(error.hint !== undefined && { hint: error.hint }),
  });
}
