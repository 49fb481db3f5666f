import { basename } from 'node:path';
import { toTxid, type Txid } from '../../formats/ltx/index.ts';
import { throwIfAborted } from '../../lib/clock.ts';
import { LitestreamError, wrapError } from '../../lib/errors.ts';
import { CheckpointWorker, identify } from '../../sqlite/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import { Database } from '../db/database.ts';
import type { DatabaseOptions, Ports, StoreOptions } from '../options.ts';
import { finalUpload } from './final-sync.ts';

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
  }

  /**
   * Starts all databases. Neither a missing database nor an unreachable replica is an error: both are waited for.
   *
   * @throws LitestreamError `ERR_CONFIG` if two databases would write to one place, or one file is configured twice
   */
  open(signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    checkDistinct(this.#options.databases);
    if (this.#options.monitors) for (const database of this.databases) database.start();
    return Promise.resolve();
  }

  /**
   * One pass over one database: WAL to local files to every replica.
   *
   * @throws LitestreamError prefixed `sync database <path>: ` or `sync replica for <path>: `
   */
  async syncDatabase(path: string, signal?: AbortSignal): Promise<SyncResult> {
    const database = this.databases.find((known) => known.options.path === path);
    if (database === undefined) {
      throw new LitestreamError('ERR_DB_NOT_FOUND', `database not found: ${path}`);
    }
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
   * Syncs everything a last time and releases it. Never throws for a database's failure.
   *
   * @returns the failures, in database order
   */
  async close(options: CloseOptions = {}): Promise<readonly LitestreamError[]> {
    if (this.#closed) return [];
    this.#closed = true;
    const failures: (LitestreamError | undefined)[] = [];
    const queue = this.databases.entries();
    const work = async (): Promise<void> => {
      for (const [index, database] of queue) {
        failures[index] = await this.#closeDatabase(database, options.interrupt);
      }
    };
    await Promise.all(Array.from({ length: CLOSE_PARALLEL }, work));
    await this.#worker.close();
    return failures.filter((failure) => failure !== undefined);
  }

  async #closeDatabase(
    database: Database,
    interrupt: AbortSignal | undefined,
  ): Promise<LitestreamError | undefined> {
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

/** Refuses configurations that would destroy a backup: nothing has been touched yet. Spec: failures OPS-19, OPS-20. */
function checkDistinct(databases: readonly DatabaseOptions[]): void {
  const files = new Map<string, string>();
  const places = new Map<string, string>();
  const claim = (taken: Map<string, string>, key: string, path: string, text: string): void => {
    const other = taken.get(key);
    if (other !== undefined) {
      throw new LitestreamError('ERR_CONFIG', text.replace('%a', other).replace('%b', path), {
        details: { path, other },
      });
    }
    taken.set(key, path);
  };
  for (const { path, metaPath, replicas } of databases) {
    const found = identify(path);
    const file = found === undefined ? path : `${found.dev}:${found.ino}`;
    claim(files, file, path, 'databases %a and %b are the same file; list it once');
    claim(
      places,
      `meta:${metaPath}`,
      path,
      `databases %a and %b would share meta-path ${metaPath}; give each its own`,
    );
    for (const { client } of replicas) {
      const text = `databases %a and %b would share replica ${client.location}; give each its own path`;
      claim(places, `${client.type}:${client.location}`, path, text);
    }
  }
}
