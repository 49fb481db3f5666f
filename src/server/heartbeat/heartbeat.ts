import type { DatabaseHealth, DatabaseObservation } from '../../engine/index.ts';
import type { Clock, TimerHandle } from '../../lib/clock.ts';
import { errorMessage } from '../../lib/errors.ts';
import { DurationValue, type Logger } from '../../telemetry/index.ts';

const CHECK_MS = 15_000;

export interface HeartbeatInit {
  readonly url: string;
  /** The URL as it may be shown. */
  readonly shownUrl: string;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** All databases, open or not. */
  readonly observe: () => readonly DatabaseObservation[];
  /** The watchdog's judgement. */
  readonly health: () => readonly DatabaseHealth[];
  /** Sends one request; resolves to the status of the answer. */
  readonly ping: (url: string) => Promise<number>;
}

/**
 * Tells a monitoring service that everything is backed up, for as long as that is true: silence is the alarm.
 *
 * Spec: config 4, interfaces 7.1, 8.3; failures OPS-11.
 */
export class Heartbeat {
  readonly #init: HeartbeatInit;
  #timer: TimerHandle | undefined;
  #running = false;
  #attemptedAt = -Infinity;

  constructor(init: HeartbeatInit) {
    this.#init = init;
  }

  start(): void {
    const { intervalMs, logger } = this.#init;
    logger.log('info', 'starting heartbeat monitor', { interval: new DurationValue(intervalMs) });
    this.#running = true;
    this.#arm();
  }

  stop(): void {
    this.#running = false;
    this.#timer?.cancel();
  }

  #arm(): void {
    this.#timer = this.#init.clock.timer(CHECK_MS, () => {
      if (!this.#running) return;
      this.#arm();
      void this.#check();
    });
    this.#timer.unref?.();
  }

  /** Never throws. */
  async #check(): Promise<void> {
    const { clock, intervalMs, logger, shownUrl, url } = this.#init;
    const now = clock.monotonic();
    if (now - this.#attemptedAt < intervalMs || !this.#isEverythingBackedUp()) return;
    this.#attemptedAt = now;
    try {
      const status = await this.#init.ping(url);
      if (status < 200 || status > 299) throw new Error(`unexpected status code: ${status}`);
      logger.log('debug', 'heartbeat ping sent', { url: shownUrl });
    } catch (error) {
      // A ping that the end of the program cut off is no failure.
      if (!this.#running) return;
      const attributes = { url: shownUrl, error: errorMessage(error) };
      logger.log('error', 'heartbeat ping failed', attributes);
    }
  }

  #isEverythingBackedUp(): boolean {
    const { clock, health, intervalMs, observe } = this.#init;
    if (health().some(({ status }) => status === 'unhealthy')) return false;
    const open = observe().filter(({ status }) => status !== 'stopped');
    if (open.length === 0) return false;
    const oldest = clock.now() - intervalMs;
    return open.every(
      ({ aheadMs, lastSyncAt }) =>
        lastSyncAt !== undefined && lastSyncAt >= oldest && aheadMs <= intervalMs,
    );
  }
}
