import type { Clock } from '../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../lib/errors.ts';
import { remedyOf } from '../lib/remedy.ts';
import { DurationValue, type LogAttributes, type Logger } from '../telemetry/index.ts';

const BACKOFF_MS_MAX = 5 * 60_000;
const LOG_EVERY_MS = 30_000;

export interface FailureLogOptions {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly messages: {
    readonly failed: string;
    readonly recovered: string;
    /** A second line beside `recovered`. */
    readonly resumed?: string;
  };
  /** First delay; doubles with every failure in a row up to 5 minutes. */
  readonly intervalMs: number;
}

/**
 * Failures of one loop: how long to wait, and what to say how often. The first one is logged at once, then at most one line per
 * 30 seconds, then one line when it works again. Spec: replication 7, 14.2.
 */
export class FailureLog {
  readonly #options: FailureLogOptions;
  #count = 0;
  #lastError: string | undefined;
  #loggedAt = -Infinity;

  constructor(options: FailureLogOptions) {
    this.#options = options;
  }

  /** Failures in a row. */
  get count(): number {
    return this.#count;
  }

  /** The text of the last failure while there are failures. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  /** Notes a failure; returns the milliseconds to wait before the next try. */
  failed(error: unknown): number {
    const { clock, logger, intervalMs } = this.#options;
    this.#count++;
    this.#lastError = errorMessage(error);
    const delayMs = Math.min(
      BACKOFF_MS_MAX,
      Math.max(1, intervalMs) * 2 ** Math.min(this.#count - 1, 40),
    );
    const now = clock.monotonic();
    const backoff = new DurationValue(delayMs);
    if (this.#count <= 3) {
      logger.log('warn', 'retrying sync', {
        attempt: this.#count,
        error: errorMessage(error),
        backoff,
      });
    }
    if (now - this.#loggedAt < LOG_EVERY_MS) return delayMs;
    this.#loggedAt = now;
    logger.log('error', this.#message(error), {
      error: errorMessage(error),
      ...extras(error),
      consecutive_errors: this.#count,
      backoff,
    });
    return delayMs;
  }

  /** Notes a success; says so if there had been failures. */
  succeeded(): void {
    if (this.#count === 0) return;
    const { logger, messages } = this.#options;
    const attributes = { previous_errors: this.#count };
    logger.log('info', messages.recovered, attributes);
    if (messages.resumed !== undefined) logger.log('info', messages.resumed, attributes);
    this.#count = 0;
    this.#lastError = undefined;
    this.#loggedAt = -Infinity;
  }

  #message(error: unknown): string {
    if (!isLitestreamError(error, 'ERR_DISK_FULL')) return this.#options.messages.failed;
    return 'disk full while staging ltx file, replication paused until space is freed';
  }
}

function extras(error: unknown): LogAttributes {
  if (!(error instanceof LitestreamError)) return {};
  const { path } = error.details;
  const hint = remedyOf(error);
  if (hint === undefined) return {};
  return { ...(typeof path === 'string' ? { path } : {}), hint };
}
