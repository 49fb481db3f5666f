import { type Clock, isAborted, sleep, type TimerHandle } from '../../lib/clock.ts';
import type { Logger } from '../../telemetry/index.ts';
import { FailureLog } from '../failure-log.ts';
import type { ReplicaOptions } from '../options.ts';

/** What an {@link UploadLoop} drives. */
export interface UploadWork {
  /** Uploads one batch. */
  readonly attempt: () => Promise<void>;
  /** There is more to upload. */
  readonly isBehind: () => boolean;
  readonly signal: AbortSignal;
}

/** A replica that has everything notes that all is well at least this far apart. */
const IDLE_MS_MIN = 5000;

/** When a replica uploads: as soon as there is something, not more often than the user allows, later and later after failures. */
export class UploadLoop {
  readonly #options: ReplicaOptions;
  readonly #clock: Clock;
  readonly #failures: FailureLog;
  #wake: (() => void) | undefined;
  #lastBatchAt = -Infinity;

  constructor(options: ReplicaOptions, clock: Clock, logger: Logger) {
    this.#options = options;
    this.#clock = clock;
    this.#failures = new FailureLog({
      logger,
      clock,
      messages: {
        failed: 'monitor error',
        recovered: 'replica sync recovered',
        resumed: 'stream resumed',
      },
      intervalMs: options.syncIntervalMs,
    });
  }

  /** Failures in a row, and the last one. */
  get failure(): { readonly consecutiveErrors: number; readonly error: string | undefined } {
    return { consecutiveErrors: this.#failures.count, error: this.#failures.lastError };
  }

  /** There may be something to upload. */
  wake(): void {
    this.#wake?.();
  }

  /** A batch was uploaded, by the loop or by somebody else. */
  noteBatch(): void {
    this.#lastBatchAt = this.#clock.monotonic();
  }

  /** Until the signal fires. */
  async run(work: UploadWork): Promise<void> {
    const { attempt, isBehind, signal } = work;
    while (!signal.aborted) {
      try {
        await attempt();
        this.#failures.succeeded();
        if (!isBehind()) await this.#waitForWork(work);
        await this.#keepSpacing(signal);
      } catch (error) {
        if (isAborted(signal)) return;
        await this.#backOff(error, signal);
      }
    }
  }

  async #backOff(error: unknown, signal: AbortSignal): Promise<void> {
    const delayMs = this.#failures.failed(error);
    try {
      await sleep(this.#clock, delayMs, signal);
    } catch {
      // Stopped: the loop sees the signal.
    }
  }

  /** An interval that the user set is the least time between two batches. */
  async #keepSpacing(signal: AbortSignal): Promise<void> {
    if (!this.#options.syncIntervalExplicit) return;
    const left = this.#lastBatchAt + this.#options.syncIntervalMs - this.#clock.monotonic();
    if (left > 0) await sleep(this.#clock, left, signal);
  }

  /** Until a newer file is announced, at most one interval: then health is recorded again. */
  #waitForWork({ isBehind, signal }: UploadWork): Promise<void> {
    return new Promise((resolve) => {
      const timer: TimerHandle = this.#clock.timer(
        Math.max(IDLE_MS_MIN, this.#options.syncIntervalMs),
        () => {
          done();
        },
      );
      const done = (): void => {
        timer.cancel();
        this.#wake = undefined;
        resolve();
      };
      this.#wake = done;
      if (signal.aborted || isBehind()) done();
    });
  }
}
