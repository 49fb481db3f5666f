import type { EncodePool } from '../../codec/index.ts';
import { toTxid, type Txid } from '../../formats/ltx/index.ts';
import { wrapError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { ContinuityLost } from './continuity-lost.ts';
import type { LocalFiles } from './local-files.ts';
import { publish, type Published } from './publish.ts';
import type { Transaction } from './transaction.ts';

export interface PublisherOptions {
  readonly files: LocalFiles;
  readonly clock: Clock;
  readonly pool?: EncodePool | undefined;
  /** Called when a file is durable. */
  readonly onPublished: (txid: Txid, transaction: Transaction, published: Published) => void;
}

/**
 * Turns transactions into level-0 files, one at a time and in order, beside the capture. A transaction that could not be
 * written (disk full) stays and is tried again; the position advances only when its file is durable.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  #lastTxid: Txid;
  #lastTimestampMs = 0;
  #transaction: Transaction | undefined;
  #running: Promise<void> | undefined;
  #failure: Error | undefined;
  #abort = new AbortController();
  #pageSize = 0;

  constructor(options: PublisherOptions, lastTxid: Txid) {
    this.#options = options;
    this.#lastTxid = lastTxid;
  }

  /** TXID of the newest durable file; 0 if there is none. */
  get lastTxid(): Txid {
    return this.#lastTxid;
  }

  /** Continues after `txid`: there is a file of that number, here or in a replica. Nothing may be in flight. */
  setLastTxid(txid: Txid, timestampMs: number): void {
    this.#lastTxid = txid;
    this.#lastTimestampMs = Math.max(this.#lastTimestampMs, timestampMs);
  }

  /** True while a transaction waits or is being written. */
  get busy(): boolean {
    return this.#transaction !== undefined;
  }

  /** True while a transaction is being written. */
  get running(): boolean {
    return this.#running !== undefined;
  }

  /** Why the waiting transaction could not be written. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Begins to write a transaction. The one before must be done. */
  start(transaction: Transaction, pageSize: number): void {
    this.#transaction = transaction;
    this.#pageSize = pageSize;
    this.retry();
  }

  /** Tries the waiting transaction again. */
  retry(): void {
    if (this.#transaction === undefined || this.#running !== undefined) return;
    this.#failure = undefined;
    this.#running = this.#run(this.#transaction).finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when nothing is being written; throws what went wrong. */
  async settled(): Promise<void> {
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Bytes of memory that {@link gather} would need; Infinity if only the end of the writing helps. */
  get gatherBytes(): number {
    return this.#transaction?.gatherBytes ?? 0;
  }

  /** Makes the transaction in flight independent of the WAL. False if only its end can do that. */
  gather(): boolean {
    const transaction = this.#transaction;
    return transaction === undefined || transaction.gather();
  }

  /** Drops the waiting transaction: its custody is lost, a full transaction will replace it. */
  async drop(): Promise<void> {
    this.#abort.abort();
    this.#abort = new AbortController();
    await this.#running;
    this.#transaction = undefined;
    this.#failure = undefined;
  }

  async #run(transaction: Transaction): Promise<void> {
    const { clock, files, onPublished, pool } = this.#options;
    const txid = toTxid(this.#lastTxid + 1n);
    const timestampMs = Math.max(clock.now(), this.#lastTimestampMs);
    let published: Published;
    try {
      published = await publish(transaction, {
        files,
        clock,
        pool,
        txid,
        pageSize: this.#pageSize,
        timestampMs,
        signal: this.#abort.signal,
      });
      this.#lastTxid = txid;
      this.#lastTimestampMs = timestampMs;
      this.#transaction = undefined;
    } catch (error) {
      this.#failure = error instanceof ContinuityLost ? error : wrapError('sync', error);
      return;
    }
    onPublished(txid, transaction, published);
  }
}
