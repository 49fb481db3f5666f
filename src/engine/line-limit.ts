import type { Clock } from '../lib/clock.ts';
import type { LogAttributes, Logger, LogLevel } from '../telemetry/index.ts';

const EVERY_MS = 30_000;

/**
 * Lines about something that fails again and again: each message at most once per 30 seconds, and how many were left out.
 *
 * Spec: interfaces 7.1, failures OPS-06.
 */
export class LineLimit {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #lines = new Map<string, { at: number; suppressed: number }>();

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  log(level: LogLevel, message: string, attributes: LogAttributes): void {
    const now = this.#clock.monotonic();
    const known = this.#lines.get(message);
    if (known !== undefined && now - known.at < EVERY_MS) {
      known.suppressed++;
      return;
    }
    const suppressed = known?.suppressed ?? 0;
    this.#lines.set(message, { at: now, suppressed: 0 });
    this.#logger.log(level, message, suppressed === 0 ? attributes : { ...attributes, suppressed });
  }
}
