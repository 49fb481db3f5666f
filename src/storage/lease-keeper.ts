import {
  abortError,
  type Clock,
  isAborted,
  sleep,
  throwIfAborted,
  type TimerHandle,
} from '../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../lib/errors.ts';
import { Mutex } from '../lib/mutex.ts';
import { DurationValue, type Logger } from '../telemetry/index.ts';
import { type HeldLease, LEASE_TTL_MS, leaseNotHeld, type LeaseStore } from './lease.ts';

const RENEW_EVERY_MS = LEASE_TTL_MS / 3;
const RENEW_AGAIN_MS = 2000;
/** We stop writing this long before others may begin: clocks differ, and requests take time. */
const SAFETY_MS = 5000;
/** A lease that is given back is noticed within this time. */
const LOOK_EVERY_MS = 5000;
const TELL_EVERY_MS = 30_000;
const RELEASE_MS_MAX = 5000;

export interface LeaseKeeperOptions {
  readonly leases: () => Promise<LeaseStore>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
  /** `host:pid`. */
  readonly owner: string;
  /** For errors and log lines, without secrets. */
  readonly location: string;
}

/**
 * Holds the lease of one replica: takes it when it is first needed, renews it in the background, and keeps writers from writing
 * without it. A process that was stopped and wakes up renews before it writes anything; when another one has taken over
 * meanwhile, everything ends with `ERR_LEASE_NOT_HELD`, for good. Spec: design B2, failures OPS-01.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #turn = new Mutex();
  /** Aborted when the lease is closed. */
  readonly #closed = new AbortController();
  /** Aborted when what is under way must not be completed. */
  #epoch = new AbortController();
  #lease: HeldLease | undefined;
  #lost: LitestreamError | undefined;
  #validMonotonic = -Infinity;
  #validWall = -Infinity;
  #timer: TimerHandle | undefined;
  #background: Promise<void> | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
  }

  /**
   * Waits until the lease is ours.
   *
   * @returns true if it was taken by this call: what was read before may be old.
   * @throws LitestreamError `ERR_LEASE_NOT_HELD` if it was lost, `ERR_ABORTED`, errors of the store.
   */
  async hold(signal?: AbortSignal): Promise<boolean> {
    throwIfAborted(signal);
    if (this.#lost !== undefined) throw this.#lost;
    if (this.#lease !== undefined && this.#isValid()) return false;
    return this.#turn.run(async () => {
      if (this.#lost !== undefined) throw this.#lost;
      if (this.#lease === undefined) {
        await this.#acquire(signal);
        return true;
      }
      if (!this.#isValid()) await this.#renew(this.#lease, signal);
      return false;
    }, signal);
  }

  /** Runs a write while the lease is held; it is aborted when the lease is not certain any more. */
  async guard<T>(
    signal: AbortSignal | undefined,
    write: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    await this.hold(signal);
    const epoch = this.#epoch.signal;
    try {
      return await write(signal === undefined ? epoch : AbortSignal.any([signal, epoch]));
    } catch (error) {
      if (isAborted(epoch) && !isAborted(signal)) throw abortError(epoch);
      throw error;
    }
  }

  /** Ends the renewals and gives the lease back. Never throws. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#timer?.cancel();
    await this.#background;
    const lease = this.#lease;
    this.#lease = undefined;
    if (lease === undefined || this.#lost !== undefined) return;
    const bound = new AbortController();
    const timer = this.#options.clock.timer(RELEASE_MS_MAX, () => bound.abort());
    try {
      const leases = await this.#options.leases();
      await leases.release(lease, { signal: bound.signal });
    } catch (error) {
      this.#log('warn', 'cannot release lease, it ends by itself', { error: errorMessage(error) });
    } finally {
      timer.cancel();
    }
  }

  #isValid(): boolean {
    const { clock } = this.#options;
    // The one stands still while the machine sleeps, the other may be set.
    return clock.monotonic() < this.#validMonotonic && clock.now() < this.#validWall;
  }

  async #acquire(signal: AbortSignal | undefined): Promise<void> {
    const { clock, random, owner } = this.#options;
    const signals = [this.#closed.signal, ...(signal === undefined ? [] : [signal])];
    const any = AbortSignal.any(signals);
    let toldAt = -Infinity;
    for (;;) {
      const asked = this.#asked();
      try {
        const leases = await this.#options.leases();
        this.#hold(await leases.acquire(owner, { signal: any }), asked);
        this.#log('info', 'lease acquired', { generation: this.#lease?.generation });
        return;
      } catch (error) {
        if (!isLitestreamError(error, 'ERR_LEASE_HELD')) throw error;
        if (clock.monotonic() - toldAt >= TELL_EVERY_MS) {
          toldAt = clock.monotonic();
          this.#log('warn', 'waiting for the lease', { error: error.message });
        }
        const left = Number(error.details['expiresInMs']);
        await sleep(clock, Math.min(left, LOOK_EVERY_MS) + random() * 1000, any);
      }
    }
  }

  #asked(): { monotonic: number; wall: number } {
    const { clock } = this.#options;
    return { monotonic: clock.monotonic(), wall: clock.now() };
  }

  /** The time counts from before the request. */
  #hold(lease: HeldLease, asked: { monotonic: number; wall: number }): void {
    this.#lease = lease;
    this.#validMonotonic = asked.monotonic + LEASE_TTL_MS - SAFETY_MS;
    this.#validWall = asked.wall + LEASE_TTL_MS - SAFETY_MS;
    if (isAborted(this.#epoch.signal)) this.#epoch = new AbortController();
    this.#schedule(RENEW_EVERY_MS);
  }

  #schedule(ms: number): void {
    this.#timer?.cancel();
    if (isAborted(this.#closed.signal)) return;
    this.#timer = this.#options.clock.timer(ms, () => {
      this.#background = this.#renewInTurn();
    });
    this.#timer.unref?.();
  }

  async #renewInTurn(): Promise<void> {
    try {
      const closed = this.#closed.signal;
      await this.#turn.run(async () => {
        if (this.#lease !== undefined) await this.#renew(this.#lease, closed);
      }, closed);
    } catch (error) {
      if (this.#lost !== undefined || isAborted(this.#closed.signal)) return;
      this.#log('warn', 'cannot renew lease', { error: errorMessage(error) });
      this.#schedule(RENEW_AGAIN_MS);
    }
  }

  /** One renewal. It may take no longer than the lease is good; what is under way then is stopped. */
  async #renew(lease: HeldLease, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#options;
    const asked = this.#asked();
    const bound = new AbortController();
    const left = this.#isValid() ? this.#validMonotonic - clock.monotonic() : RENEW_EVERY_MS;
    const timer = clock.timer(left, () => {
      const text = 'lease could not be renewed in time';
      bound.abort(new LitestreamError('ERR_STORAGE_TEMPORARY', text, { retryable: true }));
    });
    try {
      const signals = [bound.signal, ...(signal === undefined ? [] : [signal])];
      const leases = await this.#options.leases();
      this.#hold(await leases.renew(lease, { signal: AbortSignal.any(signals) }), asked);
    } catch (error) {
      if (isLitestreamError(error, 'ERR_LEASE_NOT_HELD')) this.#lose(error);
      else if (!this.#isValid()) this.#epoch.abort(uncertain(error));
      throw this.#lost ?? error;
    } finally {
      timer.cancel();
    }
  }

  #lose(cause: unknown): void {
    const { location } = this.#options;
    const { hint } = leaseNotHeld();
    this.#lost = new LitestreamError(
      'ERR_LEASE_NOT_HELD',
      `lease not held: another process has taken over replica ${location}`,
      { cause, details: { location }, ...(hint !== undefined && { hint }) },
    );
    this.#timer?.cancel();
    this.#epoch.abort(this.#lost);
    this.#log('error', 'lease lost, nothing more is written to this replica', {
      generation: this.#lease?.generation,
    });
  }

  #log(
    level: 'info' | 'warn' | 'error',
    message: string,
    attributes: Readonly<Record<string, string | number | undefined>>,
  ): void {
    const { logger, location, owner } = this.#options;
    const ttl = new DurationValue(LEASE_TTL_MS);
    logger.log(level, message, { location, owner, ...attributes, ttl });
  }
}

function uncertain(cause: unknown): LitestreamError {
  const text = `lease could not be renewed in time: ${errorMessage(cause)}`;
  return new LitestreamError('ERR_STORAGE_TEMPORARY', text, { cause, retryable: true });
}
