import { NO_TXID, toTxid, type Txid } from '../../formats/ltx/index.ts';
import { throwIfAborted, unlessAborted } from '../../lib/clock.ts';
import { LitestreamError, wrapError } from '../../lib/errors.ts';
import { CheckpointWorker, identify } from '../../sqlite/index.ts';
import type { FileInfo } from '../../storage/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Database } from '../db/database.ts';
import type { DatabaseOptions, Ports, StoreOptions } from '../options.ts';
import { Claims } from './conflicts.ts';
import {
  ManagedDatabase,
  type RuntimeSyncResult,
  type SharedParts,
  type StopOptions,
} from './managed-database.ts';
import type { DatabaseObservation } from './observation.ts';
import type { SyncResult } from './open-database.ts';
import { closeEach } from './closing.ts';
import { Stagger } from './stagger.ts';
import { Upkeep } from './upkeep.ts';

export interface CloseOptions {
  /** Fires on a second signal: no further attempt is made. */
  readonly interrupt?: AbortSignal | undefined;
  /** Bound of the last uploads, if it is less than that of the settings; 0 = one attempt. */
  readonly timeoutMs?: number | undefined;
}

/** Whether a start, a stop or an unregistration did anything, and the newest local TXID. */
export interface RuntimeResult {
  readonly changed: boolean;
  readonly txid: Txid;
}

export interface SyncOptions {
  /** Upload everything that is missing, too. */
  readonly wait: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * All databases of one process; they may be added and removed while it runs. A failure of one never touches another, and nothing that only
 * reports waits for anything. Spec: interfaces 2.3, failures OPS-22.
 */
export class Store {
  readonly #options: StoreOptions;
  readonly #worker: CheckpointWorker;
  readonly #upkeep: Upkeep;
  readonly #shared: SharedParts;
  readonly #members = new Map<string, ManagedDatabase>();
  /** Unregistered, and not closed yet. */
  readonly #leaving = new Map<ManagedDatabase, Promise<unknown>>();
  readonly #claims = new Claims();
  /** Databases that would overwrite another one's backup. */
  readonly #conflicts = new Map<string, LitestreamError>();
  #closed = false;

  constructor(options: StoreOptions, ports: Ports) {
    const logger: Logger = ports.logger.with({ system: 'store' });
    this.#options = options;
    this.#worker = new CheckpointWorker(ports.clock);
    this.#upkeep = new Upkeep(options, ports, logger);
    this.#shared = {
      options,
      ports,
      logger,
      worker: this.#worker,
      upkeep: this.#upkeep,
      stagger: new Stagger(ports.clock),
    };
    for (const database of options.databases) {
      this.#members.set(database.path, new ManagedDatabase(database, this.#shared));
    }
  }

  /** The databases that are open now, in the order of registration. */
  get databases(): readonly Database[] {
    return [...this.#members.values()].flatMap(({ database }) => database ?? []);
  }

  /** Registered databases, open or not. */
  get databaseCount(): number {
    return this.#members.size;
  }

  /** What is known of every registered database now, in the order of registration. Never waits. */
  observe(): readonly DatabaseObservation[] {
    return [...this.#members.values()].map((member) => member.observe());
  }

  /** {@link observe} for one database; undefined if it is not registered. */
  observeDatabase(path: string): DatabaseObservation | undefined {
    return this.#members.get(path)?.observe();
  }

  /** The newest file of each level above 0 in each replica of a database, as far as is known without asking. Never waits. */
  newestFiles(path: string): readonly (readonly FileInfo[])[] {
    const database = this.#members.get(path)?.database;
    if (database === undefined) return [];
    return this.#upkeep.of(database).map(({ newestFiles }) => newestFiles);
  }

  /**
   * Starts all databases. Neither a missing database nor an unreachable replica is an error: both are waited for.
   *
   * @throws LitestreamError `ERR_CONFIG` if two databases would write to one place, or one file is configured twice
   */
  open(signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    const { databases, monitors } = this.#options;
    // Nothing has been touched yet.
    for (const database of databases) this.#claims.claimFiles(database);
    for (const database of databases) {
      const conflict = this.#claims.claimPlaces(database);
      // A daemon would go on with half of its databases for ever; a single pass backs up what it can and then fails.
      if (conflict !== undefined && monitors) throw conflict;
      if (conflict !== undefined) this.#conflicts.set(database.path, conflict);
    }
    for (const member of this.#members.values()) member.run();
    if (monitors) this.#upkeep.start();
    return Promise.resolve();
  }

  /**
   * One pass over one database: WAL to local files to every replica.
   *
   * @throws LitestreamError prefixed `sync database <path>: ` or `sync replica for <path>: `
   */
  async syncDatabase(path: string, signal?: AbortSignal): Promise<SyncResult> {
    const database = this.#openOne(path);
    const conflict = this.#conflicts.get(path);
    if (conflict !== undefined) throw wrapError(`sync database ${path}`, conflict);
    let txid: Txid;
    try {
      txid = await database.sync(signal);
    } catch (error) {
      throw wrapError(`sync database ${path}`, error);
    }
    try {
      if (txid === 0n) {
        throw new LitestreamError('ERR_DB_NOT_READY', 'no position, waiting for data', {
          retryable: true,
          hint: 'the database does not exist yet; check its path',
        });
      }
      for (const replica of database.replicas) await database.syncReplica(replica, txid, signal);
    } catch (error) {
      throw wrapError(`sync replica for ${path}`, error);
    }
    return { txid, replicatedTxid: txid };
  }

  /**
   * Writes a snapshot of the database's present state to every replica, whether there is one of it or not.
   *
   * @throws LitestreamError prefixed `snapshot <path>: `
   */
  async snapshotDatabase(path: string, signal?: AbortSignal): Promise<void> {
    try {
      for (const replica of this.#upkeep.of(this.#openOne(path))) await replica.snapshot(signal);
    } catch (error) {
      throw wrapError(`snapshot ${path}`, error);
    }
  }

  /**
   * Deletes expired snapshots of the database, and what only they needed, in every replica.
   *
   * @throws LitestreamError prefixed `enforce retention for <path>: `
   */
  async enforceRetention(path: string, signal?: AbortSignal): Promise<void> {
    try {
      for (const replica of this.#upkeep.of(this.#openOne(path)))
        await replica.enforceRetention(signal);
    } catch (error) {
      throw wrapError(`enforce retention for ${path}`, error);
    }
  }

  /**
   * Newest local TXID of a database; 0 before the first.
   *
   * @throws LitestreamError `ERR_DB_NOT_FOUND`, `ERR_IO`
   */
  position(path: string): Promise<Txid> {
    return this.#find(path).position();
  }

  /**
   * Captures what is committed now; with `wait`, everything that is missing in a replica is uploaded, too. Calls at the same time
   * share the work.
   *
   * @throws LitestreamError `ERR_DB_NOT_FOUND`, `ERR_DB_NOT_OPEN`; otherwise prefixed `db sync: ` or `replica sync: `
   */
  async sync(path: string, { signal, wait }: SyncOptions): Promise<RuntimeSyncResult> {
    return this.#find(path).sync(wait, signal);
  }

  /**
   * Waits until every replica has everything that was committed before the call, or everything up to `txid`. Forces no upload: those who
   * wait at the same time share the next one. Spec: design B4.
   *
   * @throws LitestreamError `ERR_DB_NOT_FOUND`, `ERR_DB_NOT_OPEN`, `ERR_DB_NOT_READY`; `ERR_TIMEOUT` when the signal fires
   */
  async wait(path: string, txid?: bigint, signal?: AbortSignal): Promise<SyncResult> {
    return this.#find(path).wait(txid === undefined ? undefined : toTxid(txid), signal);
  }

  /** Opens a stopped database; continuity is proven anew. @throws LitestreamError `ERR_DB_NOT_FOUND`, `ERR_TIMEOUT` */
  async start(path: string, signal?: AbortSignal): Promise<RuntimeResult> {
    const member = this.#find(path);
    const changed = await member.start(signal);
    return { changed, txid: await member.position() };
  }

  /**
   * Syncs a database a last time and closes it; it stays registered.
   *
   * @throws LitestreamError `ERR_DB_NOT_FOUND`; why the last sync failed: it is stopped nevertheless; `ERR_TIMEOUT` when the signal fires
   */
  async stop(path: string, options: StopOptions = {}): Promise<RuntimeResult> {
    const member = this.#find(path);
    const changed = await member.stop(options);
    return { changed, txid: await member.position() };
  }

  /** True if the database is registered. */
  has(path: string): boolean {
    return this.#members.has(path);
  }

  /**
   * The database that has the file under a path, by this name or another one; also one that is being closed. Nobody else in this
   * process may open such a file: closing it again would drop SQLite's locks.
   *
   * @throws LitestreamError `ERR_IO` if the path cannot be looked at
   */
  ownerOf(path: string): string | undefined {
    return this.#claims.ownerOf(path);
  }

  /**
   * Adds a database and starts it; its file need not exist. Takes charge of the clients in any case.
   *
   * @returns false if the path is registered already, whatever its replicas are
   * @throws LitestreamError `ERR_CONFIG` if the file, the metadata folder or a replica location belongs to another database;
   *   `ERR_DB_INVALID` for a folder
   */
  async register(database: DatabaseOptions, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#untilGone(database.path, signal);
      if (!this.#members.has(database.path)) {
        this.#admit(database);
        return true;
      }
    } catch (error) {
      await closeClients(database);
      throw error;
    }
    await closeClients(database);
    return false;
  }

  /**
   * Removes a database, syncs it a last time and closes it. Local and remote files stay.
   *
   * @returns `changed` false if it is not registered
   * @throws LitestreamError prefixed `close db: ` if the last sync failed: it is removed nevertheless; `ERR_TIMEOUT` when the signal fires
   */
  async unregister(path: string, { signal, timeoutMs }: StopOptions = {}): Promise<RuntimeResult> {
    const member = this.#members.get(path);
    if (member === undefined) return { changed: false, txid: NO_TXID };
    this.#members.delete(path);
    const work = member.dismiss(timeoutMs);
    const gone = work.then(() => {
      this.#leaving.delete(member);
      this.#claims.release(path);
    });
    this.#leaving.set(member, gone);
    let failure: LitestreamError | undefined;
    try {
      failure = await unlessAborted(work, signal);
    } catch (error) {
      void work.then((late) => this.#logFailure(late));
      throw wrapError('close db', error);
    }
    await gone;
    if (failure !== undefined) throw wrapError('close db', failure);
    return { changed: true, txid: member.txid };
  }

  /**
   * Syncs everything a last time and releases it. Never throws for a database's failure.
   *
   * @returns the failures, in database order
   */
  async close(options: CloseOptions = {}): Promise<readonly LitestreamError[]> {
    if (this.#closed) return [];
    this.#closed = true;
    this.#interruptWith(options.interrupt);
    await this.#upkeep.stop();
    const failures = new Map<ManagedDatabase, LitestreamError>();
    const timeoutMs = Math.min(options.timeoutMs ?? Infinity, this.#options.shutdownSyncTimeoutMs);
    const own = [...this.#members.values()].filter(
      ({ options: { path } }) => !this.#conflicts.has(path),
    );
    const { clock } = this.#shared.ports;
    await closeEach(own, { clock, timeoutMs }, async (member, leftMs) => {
      const failure = await member.dismiss(leftMs);
      if (failure !== undefined) failures.set(member, failure);
    });
    await Promise.all(this.#leaving.values());
    await this.#upkeep.close();
    await this.#worker.close();
    return own.flatMap((member) => failures.get(member) ?? []);
  }

  #interruptWith(signal: AbortSignal | undefined): void {
    const interrupt = (): void => {
      for (const member of [...this.#members.values(), ...this.#leaving.keys()]) member.interrupt();
    };
    if (signal?.aborted === true) interrupt();
    signal?.addEventListener('abort', interrupt, { once: true });
  }

  #find(path: string): ManagedDatabase {
    const member = this.#members.get(path);
    if (member === undefined) {
      throw new LitestreamError('ERR_DB_NOT_FOUND', `database not found: ${path}`, {
        details: { path },
      });
    }
    return member;
  }

  #openOne(path: string): Database {
    const { database } = this.#find(path);
    if (database !== undefined) return database;
    throw new LitestreamError('ERR_DB_NOT_OPEN', `database not open: ${path}`, {
      details: { path },
    });
  }

  /** Two objects for one file in a process would break each other's locks: the former one has to be closed. */
  async #untilGone(path: string, signal: AbortSignal | undefined): Promise<void> {
    for (const [{ options }, gone] of this.#leaving) {
      if (options.path === path) await unlessAborted(gone, signal);
    }
  }

  #admit(database: DatabaseOptions): void {
    const { path } = database;
    if (this.#closed) throw new LitestreamError('ERR_ABORTED', 'context canceled');
    if (identify(path)?.kind === 'directory') {
      const text = `open ${path}: is a directory`;
      throw new LitestreamError('ERR_DB_INVALID', text, { details: { path } });
    }
    try {
      this.#claims.claimFiles(database);
      const conflict = this.#claims.claimPlaces(database);
      if (conflict !== undefined) throw conflict;
    } catch (error) {
      this.#claims.release(path);
      throw error;
    }
    const member = new ManagedDatabase(database, this.#shared);
    this.#members.set(path, member);
    member.run();
  }

  #logFailure(failure: LitestreamError | undefined): void {
    if (failure === undefined) return;
    this.#shared.logger.log('error', 'failed to close database', { error: failure });
  }
}

async function closeClients({ replicas }: DatabaseOptions): Promise<void> {
  for (const { client } of replicas) await client.close();
}
