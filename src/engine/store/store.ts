import { basename } from 'node:path';
import { toTxid, type Txid } from '../../formats/ltx/index.ts';
import { throwIfAborted } from '../../lib/clock.ts';
import { LitestreamError, wrapError } from '../../lib/errors.ts';
import { CheckpointWorker, identify } from '../../sqlite/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import { Database } from '../db/database.ts';
import type { DatabaseOptions, Ports, StoreOptions } from '../options.ts';
import { finalUpload } from './final-sync.ts';
import { type DatabaseObservation, observeDatabase } from './observation.ts';
import { Upkeep } from './upkeep.ts';

/** Databases that are closed at the same time. */
const CLOSE_PARALLEL = 16;

/** Where one database stands after a sync. */
export interface SyncResult {
  /** Newest local TXID. */
  readonly txid: Txid;
  /** TXID that every replica has. */
  readonly replicatedTxid: Txid;
}

export interface CloseOptions {
  /** Fires on a second signal: no further attempt is made. */
  readonly interrupt?: AbortSignal | undefined;
}

/** All databases of one process. A failure of one never touches another. */
export class Store {
  readonly databases: readonly Database[];
  readonly #options: StoreOptions;
  readonly #ports: Ports;
  readonly #logger: Logger;
  readonly #worker: CheckpointWorker;
  readonly #upkeep: Upkeep;
  /** Databases that would overwrite another one's backup. */
  #conflicts: ReadonlyMap<string, LitestreamError> = new Map();
  #closed = false;

  constructor(options: StoreOptions, ports: Ports) {
    this.#options = options;
    this.#ports = ports;
    this.#logger = ports.logger.with({ system: 'store' });
    this.#worker = new CheckpointWorker(ports.clock);
    this.databases = options.databases.map(
      (database) =>
        new Database({ options: database, ports, worker: this.#worker, logger: this.#logger }),
    );
    this.#upkeep = new Upkeep(options, ports, this.#logger);
    for (const database of this.databases) this.#upkeep.add(database);
  }

  /**
   * Starts all databases. Neither a missing database nor an unreachable replica is an error: both are waited for.
   *
   * @throws LitestreamError `ERR_CONFIG` if two databases would write to one place, or one file is configured twice
   */
  open(signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    checkFiles(this.#options.databases);
    const conflicts = sharedPlaces(this.#options.databases);
    // A daemon would go on with half of its databases for ever; a single pass backs up what it can and then fails.
    const [first] = conflicts.values();
    if (this.#options.monitors && first !== undefined) throw first;
    this.#conflicts = conflicts;
    if (this.#options.monitors) {
      for (const database of this.databases) database.start();
      this.#upkeep.start();
    }
    return Promise.resolve();
  }

  /** What is known of every registered database now, in the order of registration. Never waits. Spec: failures OPS-22. */
  observe(): readonly DatabaseObservation[] {
    const status = this.#options.monitors ? 'replicating' : 'open';
    return this.databases.map((database) => {
      const { path } = database.options;
      return observeDatabase({ path, status, txid: database.txid, database });
    });
  }

  /**
   * One pass over one database: WAL to local files to every replica.
   *
   * @throws LitestreamError prefixed `sync database <path>: ` or `sync replica for <path>: `
   */
  async syncDatabase(path: string, signal?: AbortSignal): Promise<SyncResult> {
    const database = this.#find(path);
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
      for (const replica of this.#upkeep.of(this.#find(path))) await replica.snapshot(signal);
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
      for (const replica of this.#upkeep.of(this.#find(path)))
        await replica.enforceRetention(signal);
    } catch (error) {
      throw wrapError(`enforce retention for ${path}`, error);
    }
  }

  /**
   * Syncs everything a last time and releases it. Never throws for a database's failure.
   *
   * @returns the failures, in database order
   */
  async close(options: CloseOptions = {}): Promise<readonly LitestreamError[]> {
    if (this.#closed) return [];
    this.#closed = true;
    await this.#upkeep.stop();
    const failures: (LitestreamError | undefined)[] = [];
    const queue = this.databases.entries();
    const work = async (): Promise<void> => {
      for (const [index, database] of queue) {
        failures[index] = await this.#closeDatabase(database, options.interrupt);
      }
    };
    await Promise.all(Array.from({ length: CLOSE_PARALLEL }, work));
    await this.#upkeep.close();
    await this.#worker.close();
    return failures.filter((failure) => failure !== undefined);
  }

  #find(path: string): Database {
    const database = this.databases.find((known) => known.options.path === path);
    if (database === undefined) {
      throw new LitestreamError('ERR_DB_NOT_FOUND', `database not found: ${path}`);
    }
    return database;
  }

  async #closeDatabase(
    database: Database,
    interrupt: AbortSignal | undefined,
  ): Promise<LitestreamError | undefined> {
    if (this.#conflicts.has(database.options.path)) return undefined;
    let failure: LitestreamError | undefined;
    const note = (error: unknown): void => {
      failure ??= wrapError('close db', error);
    };
    await database.stopLoops();
    let txid: Txid = toTxid(0n);
    try {
      txid = await database.sync();
    } catch (error) {
      note(error);
      // What is durable here can still go up.
      txid = database.txid;
    }
    const attributes = { db: basename(database.options.path) };
    const options = {
      clock: this.#ports.clock,
      logger: this.#logger.with(attributes),
      timeoutMs: this.#options.shutdownSyncTimeoutMs,
      intervalMs: this.#options.shutdownSyncIntervalMs,
      interrupt,
    };
    const uploads = database.replicas.map(async (replica) => {
      try {
        if (txid > 0n) await finalUpload(database, replica, txid, options);
      } catch (error) {
        note(error);
      }
    });
    await Promise.all(uploads);
    try {
      await database.release();
      for (const replica of database.replicas) await replica.client.close();
    } catch (error) {
      note(error);
    }
    return failure;
  }
}

/** One file, or one metadata folder, under two entries: nothing has been touched yet. Spec: failures OPS-20. */
function checkFiles(databases: readonly DatabaseOptions[]): void {
  const files = new Map<string, string>();
  const metas = new Map<string, string>();
  for (const { path, metaPath } of databases) {
    const found = identify(path);
    const file = found === undefined ? path : `${found.dev}:${found.ino}`;
    const twin = claim(files, file, path);
    if (twin !== undefined) {
      throw conflict(path, twin, `databases ${twin} and ${path} are the same file; list it once`);
    }
    const other = claim(metas, metaPath, path);
    if (other === undefined) continue;
    const text = `meta-path collision: databases ${other} and ${path} would share meta-path ${metaPath}`;
    throw conflict(path, other, `${text}, causing replication state corruption; give each its own`);
  }
}

/** Databases that would write to a place that an earlier one has, by path. Spec: failures OPS-19. */
function sharedPlaces(databases: readonly DatabaseOptions[]): Map<string, LitestreamError> {
  const places = new Map<string, string>();
  const conflicts = new Map<string, LitestreamError>();
  for (const { path, replicas } of databases) {
    for (const { client } of replicas) {
      const other = claim(places, `${client.type}:${client.location}`, path);
      if (other === undefined) continue;
      const text = `databases ${other} and ${path} share replica ${client.location}; give each its own path`;
      conflicts.set(path, conflict(path, other, text));
    }
  }
  return conflicts;
}

/** Who has the key already; claims it otherwise. */
function claim(taken: Map<string, string>, key: string, path: string): string | undefined {
  const other = taken.get(key);
  if (other === undefined) taken.set(key, path);
  return other;
}

function conflict(path: string, other: string, text: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', text, { details: { path, other } });
}
