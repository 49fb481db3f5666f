import { basename } from 'node:path';
import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import { isAborted, type TimerHandle, unlessAborted } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError, wrapError } from '../../lib/errors.ts';
import { Mutex } from '../../lib/mutex.ts';
import type { CheckpointWorker } from '../../sqlite/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import { Database } from '../db/database.ts';
import type { DatabaseOptions, Ports, StoreOptions } from '../options.ts';
import { closeDatabase } from './final-sync.ts';
import { type DatabaseObservation, type DatabaseStatus, observeDatabase } from './observation.ts';
import { OpenDatabase, type SyncResult } from './open-database.ts';
import type { Stagger } from './stagger.ts';
import type { Upkeep } from './upkeep.ts';

/** What all databases of a store share. */
export interface SharedParts {
  readonly options: StoreOptions;
  readonly ports: Ports;
  /** With the store's attributes. */
  readonly logger: Logger;
  readonly worker: CheckpointWorker;
  readonly upkeep: Upkeep;
  readonly stagger: Stagger;
}

export interface RuntimeSyncResult extends SyncResult {
  /** The local position is beyond that of the answer before, or of the start. */
  readonly grew: boolean;
}

export interface StopOptions {
  /** Bound of the final sync, beside `shutdown-sync-timeout`; 0 = one attempt. */
  readonly timeoutMs?: number | undefined;
  /** Ends the caller's wait; what has begun is finished in any case. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * A database that is registered with the store, open or stopped. What it knew is forgotten when it is stopped: a start proves continuity
 * as a start of the process does. Starts and stops of one database follow each other; different ones do not wait for each other.
 *
 * Spec: interfaces 2.3, design 3.5.
 */
export class ManagedDatabase {
  readonly options: DatabaseOptions;
  readonly #shared: SharedParts;
  readonly #lock = new Mutex();
  readonly #interrupt = new AbortController();
  #open: OpenDatabase | undefined;
  #closing = false;
  #start: TimerHandle | undefined;
  /** The last known TXID, for the time without an open database and the first moments of the next. */
  #lastTxid: Txid = NO_TXID;
  #reportedTxid: Txid = NO_TXID;

  constructor(options: DatabaseOptions, shared: SharedParts) {
    this.options = options;
    this.#shared = shared;
    this.#open = this.#create();
  }

  /** The open database; undefined while it is stopped or being closed. */
  get database(): Database | undefined {
    return this.#closing ? undefined : this.#open?.database;
  }

  get status(): DatabaseStatus {
    if (this.database === undefined) return 'stopped';
    return this.#shared.options.monitors ? 'replicating' : 'open';
  }

  /** Newest local TXID, as far as it is known without looking. */
  get txid(): Txid {
    const txid = this.#open?.database.txid ?? NO_TXID;
    return txid > this.#lastTxid ? txid : this.#lastTxid;
  }

  observe(): DatabaseObservation {
    const { database, status, txid } = this;
    const { options, upkeep } = this.#shared;
    const siblings = database === undefined || !options.monitors ? [] : upkeep.of(database);
    return observeDatabase({
      path: this.options.path,
      status,
      txid,
      database,
      upkeep: siblings.map((replica) => replica.observe()),
    });
  }

  /** Newest local TXID; looks into the folder if nothing is known yet. @throws LitestreamError `ERR_IO` */
  async position(): Promise<Txid> {
    if (this.txid > 0n || this.#open === undefined) return this.txid;
    return (await this.#open.database.files.list()).at(-1) ?? NO_TXID;
  }

  /** Begins to work, in its turn where many do. */
  run(): void {
    const open = this.#open;
    if (open === undefined || !this.#shared.options.monitors) return;
    const { ports, stagger } = this.#shared;
    const delayMs = stagger.delayMs();
    if (delayMs === 0) open.database.start();
    else this.#start = ports.clock.timer(delayMs, () => open.database.start());
  }

  /** Opens a stopped database. Returns false if it was open. @throws LitestreamError `ERR_ABORTED`, `ERR_TIMEOUT` */
  start(signal?: AbortSignal): Promise<boolean> {
    return this.#lock.run(() => {
      if (this.#open !== undefined) return false;
      this.#open = this.#create();
      this.run();
      return true;
    }, signal);
  }

  /**
   * Syncs a last time and closes. Returns false if it was closed already. It is closed whatever the last sync comes to.
   *
   * @throws LitestreamError why the last sync failed; `ERR_TIMEOUT` when the signal fires: closing goes on then
   */
  async stop({ signal, timeoutMs }: StopOptions = {}): Promise<boolean> {
    // Whose time is over before it came to its turn has not asked for anything; but what can begin now begins.
    const work = this.#lock.run(
      async () => {
        if (this.#open === undefined) return { stopped: false, failure: undefined };
        return { stopped: true, failure: await this.#shutDown(this.#open, timeoutMs) };
      },
      this.#lock.held ? signal : undefined,
    );
    let result;
    try {
      result = await unlessAborted(work, signal);
    } catch (error) {
      if (isAborted(signal)) this.#logLater(work);
      throw error;
    }
    if (result.failure !== undefined) throw result.failure;
    return result.stopped;
  }

  /** {@link stop}, for good: its replicas' clients are closed, too. Returns what went wrong. */
  async dismiss(timeoutMs?: number): Promise<LitestreamError | undefined> {
    let failure: LitestreamError | undefined;
    try {
      await this.stop({ timeoutMs });
      for (const { client } of this.options.replicas) await client.close();
    } catch (error) {
      failure = error instanceof LitestreamError ? error : wrapError('close', error);
    }
    return failure;
  }

  /** No further attempt of a last sync. */
  interrupt(): void {
    this.#interrupt.abort(new LitestreamError('ERR_ABORTED', 'context canceled'));
  }

  /**
   * Captures everything committed until now, and with `wait` uploads all that is missing to every replica.
   *
   * @throws LitestreamError `ERR_DB_NOT_OPEN`; otherwise prefixed `db sync: ` or `replica sync: `
   */
  async sync(wait: boolean, signal?: AbortSignal): Promise<RuntimeSyncResult> {
    const result = await this.#requireOpen().sync(wait, signal);
    const grew = result.txid > this.#reportedTxid;
    if (grew) this.#reportedTxid = result.txid;
    return { ...result, grew };
  }

  /** See {@link OpenDatabase.wait}. @throws LitestreamError `ERR_DB_NOT_OPEN`, `ERR_TIMEOUT` */
  async wait(txid: Txid | undefined, signal?: AbortSignal): Promise<SyncResult> {
    return this.#requireOpen().wait(txid, signal);
  }

  #requireOpen(): OpenDatabase {
    if (this.#open !== undefined && !this.#closing) return this.#open;
    throw this.#notOpen();
  }

  #notOpen(): LitestreamError {
    const { path } = this.options;
    return new LitestreamError('ERR_DB_NOT_OPEN', `database not open: ${path}`, {
      details: { path },
    });
  }

  #create(): OpenDatabase {
    const { logger, options, ports, upkeep, worker } = this.#shared;
    const { pool } = upkeep;
    const database = new Database({ options: this.options, ports, worker, pool, logger });
    upkeep.add(database);
    return new OpenDatabase(database, { clock: ports.clock, monitors: options.monitors });
  }

  async #shutDown(open: OpenDatabase, timeoutMs?: number): Promise<LitestreamError | undefined> {
    const { logger, options, ports, upkeep } = this.#shared;
    const { database } = open;
    this.#closing = true;
    this.#start?.cancel();
    open.stop(this.#notOpen());
    await upkeep.remove(database);
    const failure = await closeDatabase(database, {
      clock: ports.clock,
      logger: logger.with({ db: basename(this.options.path) }),
      timeoutMs: Math.max(0, Math.min(timeoutMs ?? Infinity, options.shutdownSyncTimeoutMs)),
      intervalMs: options.shutdownSyncIntervalMs,
      interrupt: this.#interrupt.signal,
    });
    this.#lastTxid = this.#reportedTxid = database.txid;
    this.#open = undefined;
    this.#closing = false;
    return failure;
  }

  /** Nobody waits for the outcome any more: the log gets it. */
  #logLater(work: Promise<{ readonly failure: LitestreamError | undefined }>): void {
    const note = ({ failure }: { readonly failure: LitestreamError | undefined }): void => {
      if (failure === undefined) return;
      this.#shared.logger.log('error', 'failed to close database', { error: failure });
    };
    work.then(note, (error: unknown) => {
      if (!isLitestreamError(error)) throw error;
    });
  }
}
