import type { Txid } from '../../formats/ltx/index.ts';
import { type Clock, unlessAborted } from '../../lib/clock.ts';
import type { LitestreamError } from '../../lib/errors.ts';

/** A round that is not durable yet holds the next one up for so long at most: one file per second, as without waiters. */
const ROUND_MS_MAX = 1000;

export interface CaptureRoundsInit {
  readonly clock: Clock;
  /** Brings everything committed until now into durable local files; returns the newest TXID. */
  readonly capture: () => Promise<Txid>;
  /** True once every replica has everything up to here. */
  readonly isDurable: (txid: Txid) => boolean;
}

interface Round extends PromiseWithResolvers<Txid> {
  urgent: boolean;
}

/**
 * Captures for many who wait, a round at a time: all who come during one share the next. While those of a round still wait for the
 * stores, the next one collects, so that waiters cost one file per round trip to the store, whatever their number. Spec: design B4.
 */
export class CaptureRounds {
  readonly #init: CaptureRoundsInit;
  #next: Round | undefined;
  #running = false;
  #beganAt = -Infinity;
  #lastTxid: Txid | undefined;
  #wake: (() => void) | undefined;
  #stopped: LitestreamError | undefined;

  constructor(init: CaptureRoundsInit) {
    this.#init = init;
  }

  /**
   * Waits for a capture that begins after this call; an urgent one begins as soon as the one before has ended.
   *
   * @returns a TXID up to which the local files hold everything that was committed before the call
   * @throws what the capture throws, `ERR_ABORTED` when the signal fires, the reason of {@link stop}
   */
  join(urgent: boolean, signal?: AbortSignal): Promise<Txid> {
    if (this.#stopped !== undefined) return Promise.reject(this.#stopped);
    const round = (this.#next ??= { ...Promise.withResolvers<Txid>(), urgent: false });
    if (urgent) {
      round.urgent = true;
      this.#wake?.();
    }
    if (!this.#running) void this.#run();
    return unlessAborted(round.promise, signal);
  }

  /** A replica has moved on: the next round may be due. */
  progress(): void {
    this.#wake?.();
  }

  /** Ends all waits that have not begun. */
  stop(reason: LitestreamError): void {
    this.#stopped = reason;
    const round = this.#next;
    this.#next = undefined;
    // It may be that nobody waits for it any more.
    round?.promise.catch(() => undefined);
    round?.reject(reason);
    this.#wake?.();
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let round = await this.#due(); round !== undefined; round = await this.#due()) {
      this.#beganAt = this.#init.clock.monotonic();
      // It may be that nobody waits for it any more.
      round.promise.catch(() => undefined);
      try {
        this.#lastTxid = await this.#init.capture();
        round.resolve(this.#lastTxid);
      } catch (error) {
        round.reject(error);
      }
    }
  }

  /** The next round, in its time; undefined if there is none. */
  async #due(): Promise<Round | undefined> {
    if (this.#next !== undefined) await this.#untilDue();
    const round = this.#next;
    this.#next = undefined;
    // In the same turn: whoever comes later must begin anew.
    this.#running = round !== undefined;
    return round;
  }

  async #untilDue(): Promise<void> {
    for (let left = this.#untilDueMs(); left > 0; left = this.#untilDueMs()) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          timer.cancel();
          this.#wake = undefined;
          resolve();
        };
        const timer = this.#init.clock.timer(left, done);
        this.#wake = done;
      });
    }
  }

  #untilDueMs(): number {
    const { clock, isDurable } = this.#init;
    if (this.#next === undefined || this.#next.urgent) return 0;
    if (this.#lastTxid === undefined || isDurable(this.#lastTxid)) return 0;
    return this.#beganAt + ROUND_MS_MAX - clock.monotonic();
  }
}
