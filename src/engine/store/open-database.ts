import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import { type Clock, isAborted, unlessAborted } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError, wrapError } from '../../lib/errors.ts';
import type { Database } from '../db/database.ts';
import type { Replica } from '../replica/replica.ts';
import { CaptureRounds } from './capture-rounds.ts';
import { SharedAttempt } from './shared-attempt.ts';

/** Where one database stands after a sync. */
export interface SyncResult {
  /** Newest local TXID. */
  readonly txid: Txid;
  /** TXID that every replica has; 0 if that is not known yet. */
  readonly replicatedTxid: Txid;
}

interface Waiter extends PromiseWithResolvers<'durable' | 'renumbered'> {
  readonly txid: Txid;
  /** Undefined: the number counts, whatever it stands for. */
  readonly epoch: number | undefined;
}

/** An open database and those who wait for it: requests are grouped, so that a hundred of them cost what one does. */
export class OpenDatabase {
  readonly database: Database;
  readonly #monitors: boolean;
  readonly #rounds: CaptureRounds;
  readonly #uploads: ReadonlyMap<Replica, SharedAttempt>;
  readonly #waiters = new Set<Waiter>();
  readonly #stop = new AbortController();

  constructor(database: Database, options: { readonly clock: Clock; readonly monitors: boolean }) {
    this.database = database;
    this.#monitors = options.monitors;
    this.#rounds = new CaptureRounds({
      clock: options.clock,
      capture: () => database.sync(),
      isDurable: (txid) => this.#replicated() >= txid,
    });
    this.#uploads = new Map(
      database.replicas.map((replica) => [replica, this.#shared(replica)] as const),
    );
    for (const replica of database.replicas) replica.onProgress(() => this.#progress());
  }

  /** Ends all waits. */
  stop(reason: LitestreamError): void {
    this.#stop.abort(reason);
    this.#rounds.stop(reason);
    for (const waiter of this.#waiters) waiter.reject(reason);
  }

  /**
   * Captures everything committed until now, and with `wait` uploads all that is missing to every replica.
   *
   * @throws LitestreamError prefixed `db sync: ` or `replica sync: `
   */
  async sync(wait: boolean, signal?: AbortSignal): Promise<SyncResult> {
    const { database } = this;
    const { epoch } = database;
    let txid = await this.#capture(!wait, signal);
    if (!wait) return { txid, replicatedTxid: this.#replicated() };
    try {
      if (txid === NO_TXID) throw noPosition();
      await this.#upload(signal);
    } catch (error) {
      throw this.#stopped() ?? wrapError('replica sync', error);
    }
    if (database.epoch !== epoch) ({ txid } = database);
    return { txid, replicatedTxid: this.#replicated() };
  }

  /**
   * Waits until every replica has everything that was committed before the call, or everything up to `given`. Causes no upload of its own:
   * what is captured goes up as always.
   *
   * @throws LitestreamError `ERR_TIMEOUT` when the signal fires, `ERR_DB_NOT_READY` without a database, failures of the capture
   */
  async wait(given: Txid | undefined, signal?: AbortSignal): Promise<SyncResult> {
    const { database } = this;
    for (;;) {
      const { epoch } = database;
      const txid = given ?? (await this.#captureShared(signal));
      if (given === undefined && txid === NO_TXID) throw noPosition();
      if (!this.#monitors) await this.#upload(signal);
      const outcome = await this.#untilReplicated(
        txid,
        given === undefined ? epoch : undefined,
        signal,
      );
      if (outcome === 'durable') return { txid, replicatedTxid: this.#replicated() };
    }
  }

  /** A capture whose turn may only come when the replicas have what was captured before. */
  async #captureShared(signal: AbortSignal | undefined): Promise<Txid> {
    try {
      return await this.#capture(false, signal);
    } catch (error) {
      throw isTimeout(error) ? this.#timedOut(this.database.txid, error) : error;
    }
  }

  async #capture(urgent: boolean, signal: AbortSignal | undefined): Promise<Txid> {
    try {
      return await this.#rounds.join(urgent, signal);
    } catch (error) {
      const prefix = isAborted(signal) ? 'db sync: wait for db sync executor' : 'db sync';
      throw this.#stopped() ?? wrapError(prefix, error);
    }
  }

  async #upload(signal: AbortSignal | undefined): Promise<void> {
    await Promise.all([...this.#uploads.values()].map((upload) => upload.join(signal)));
  }

  async #untilReplicated(
    txid: Txid,
    epoch: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<'durable' | 'renumbered'> {
    const waiter: Waiter = { txid, epoch, ...Promise.withResolvers<'durable' | 'renumbered'>() };
    this.#waiters.add(waiter);
    this.#judge(waiter);
    try {
      return await unlessAborted(waiter.promise, signal);
    } catch (error) {
      throw isTimeout(error) ? this.#timedOut(txid, error) : error;
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  #progress(): void {
    this.#rounds.progress();
    for (const waiter of this.#waiters) this.#judge(waiter);
  }

  #judge({ epoch, reject, resolve, txid }: Waiter): void {
    const stopped = this.#stopped();
    if (stopped !== undefined) reject(stopped);
    // The numbers stand for other transactions now: what was captured before gets a new one.
    else if (epoch !== undefined && epoch !== this.database.epoch) resolve('renumbered');
    else if (this.#replicated() >= txid && this.#allKnown()) resolve('durable');
  }

  #stopped(): LitestreamError | undefined {
    const reason: unknown = this.#stop.signal.reason;
    return reason instanceof LitestreamError ? reason : undefined;
  }

  #replicated(): Txid {
    let common: Txid | undefined;
    for (const { position = NO_TXID } of this.database.replicas) {
      if (common === undefined || position < common) common = position;
    }
    return common ?? NO_TXID;
  }

  #allKnown(): boolean {
    return this.database.replicas.every(({ position }) => position !== undefined);
  }

  #shared(replica: Replica): SharedAttempt {
    return new SharedAttempt((signal) =>
      this.database.syncReplica(
        replica,
        this.database.txid,
        AbortSignal.any([signal, this.#stop.signal]),
      ),
    );
  }

  /** Which replica is waited for, and why it does not come. */
  #timedOut(txid: Txid, error: unknown): LitestreamError {
    const late = this.database.replicas.find(({ position = NO_TXID }) => position < txid);
    const name = late?.options.name ?? late?.client.type ?? 'replica';
    const at = late?.position === undefined ? 'an unknown position' : `TXID ${late.position}`;
    const why = late?.failure.error === undefined ? '' : `: ${late.failure.error}`;
    const text = `timeout waiting for replication: ${name} is at ${at}, waiting for TXID ${txid}${why}`;
    return new LitestreamError('ERR_TIMEOUT', text, { cause: error, retryable: true });
  }
}

function isTimeout(error: unknown): boolean {
  return isLitestreamError(error, 'ERR_TIMEOUT');
}

function noPosition(): LitestreamError {
  return new LitestreamError('ERR_DB_NOT_READY', 'no position, waiting for data', {
    retryable: true,
    hint: 'the database does not exist yet; check its path',
  });
}
