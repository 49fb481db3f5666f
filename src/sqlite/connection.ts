import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { type ErrorCode, LitestreamError } from '../lib/errors.ts';

/** What `PRAGMA wal_checkpoint` answers, in frames. */
export interface CheckpointResult {
  /** True if the checkpoint could not run to its end because of another connection. */
  readonly busy: boolean;
  /** Frames in the WAL, −1 if unknown. */
  readonly log: number;
  /** Frames of the current WAL that have been moved into the database file so far. */
  readonly checkpointed: number;
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  5: 'ERR_DB_BUSY',
  6: 'ERR_DB_BUSY',
  8: 'ERR_DB_READONLY',
  13: 'ERR_DISK_FULL',
  26: 'ERR_DB_INVALID',
};

/** SQLite's extended result code; 1 (an error without a name) where there is none. */
function resultCode(error: unknown): number {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
    ? error.errcode
    : 1;
}

function codeOf(errcode: number): ErrorCode {
  return CODES[errcode & 0xff] ?? 'ERR_DB_IO';
}

/** SQLite's own error as a `LitestreamError`: `<what>: <text> (<code>)`. */
export function sqliteError(what: string, error: unknown): LitestreamError {
  if (error instanceof LitestreamError) return error;
  const errcode = resultCode(error);
  const text = error instanceof Error ? error.message : String(error);
  const code = codeOf(errcode);
  const name = code === 'ERR_DB_BUSY' ? ` (${errcode}) (SQLITE_BUSY)` : ` (${errcode})`;
  return new LitestreamError(code, `${what}: ${text}${name}`, {
    cause: error,
    retryable: true,
    details: { errcode },
  });
}

/** `file:` URL of a database with SQLite's open mode. `rw` never creates a file. */
export function databaseUrl(path: string, mode: 'rw' | 'ro'): URL {
  const url = pathToFileURL(path);
  url.searchParams.set('mode', mode);
  return url;
}

/**
 * One SQLite connection of ours to a managed database: no busy handler (every call returns at once), no automatic
 * checkpoint, at most one transaction. All calls are synchronous and take microseconds, except {@link checkpoint}.
 */
export class Connection {
  readonly #db: DatabaseSync;
  readonly #begin: StatementSync;
  readonly #beginImmediate: StatementSync;
  readonly #touch: StatementSync;
  readonly #rollback: StatementSync;
  #open = true;

  private constructor(db: DatabaseSync) {
    this.#db = db;
    this.#begin = db.prepare('BEGIN');
    this.#beginImmediate = db.prepare('BEGIN IMMEDIATE');
    this.#touch = db.prepare('PRAGMA user_version');
    this.#rollback = db.prepare('ROLLBACK');
  }

  /**
   * Opens an existing database.
   *
   * @throws LitestreamError `ERR_DB_INVALID` (not a database), `ERR_DB_BUSY`, `ERR_DB_READONLY`, `ERR_DB_IO`
   */
  static open(path: string, mode: 'rw' | 'ro' = 'rw'): Connection {
    let db: DatabaseSync | undefined;
    try {
      db = new DatabaseSync(databaseUrl(path, mode), { timeout: 0, readOnly: mode === 'ro' });
      db.exec('PRAGMA wal_autocheckpoint = 0');
      return new Connection(db);
    } catch (error) {
      db?.close();
      throw sqliteError('open database', error);
    }
  }

  /**
   * Gives back what SQLite set aside for a page cache: half of what an idle connection costs (77 KB of 150), and of no use to one that
   * only looks at the first page. Outside of a transaction. Not done where the schema cannot be read now.
   */
  dropCache(): this {
    try {
      this.#db.exec('PRAGMA cache_size = 1; PRAGMA shrink_memory');
    } catch {
      // It only costs memory.
    }
    return this;
  }

  get inTransaction(): boolean {
    return this.#open && this.#db.isTransaction;
  }

  /** Switches the database to WAL mode if it is not, and returns the mode it is in then. */
  enableWal(): string {
    return this.#text('PRAGMA journal_mode = wal', 'enable wal');
  }

  /** Bytes per page. */
  pageSize(): number {
    return Number(this.#text('PRAGMA page_size', 'page size'));
  }

  /**
   * Begins a read transaction that really holds a WAL read mark. False if another connection's lock prevents it now.
   */
  beginRead(): boolean {
    try {
      this.#begin.run();
    } catch (error) {
      return this.#busyOrThrow('begin read transaction', error);
    }
    try {
      this.#touch.get();
      return true;
    } catch (error) {
      this.rollback();
      return this.#busyOrThrow('begin read transaction', error);
    }
  }

  /** Takes the write lock without waiting. False if somebody else has it. */
  beginImmediate(): boolean {
    try {
      this.#beginImmediate.run();
      return true;
    } catch (error) {
      return this.#busyOrThrow('begin barrier', error);
    }
  }

  /** Ends the transaction, if there is one. */
  rollback(): void {
    if (!this.inTransaction) return;
    try {
      this.#rollback.run();
    } catch (error) {
      throw sqliteError('rollback', error);
    }
  }

  /**
   * Moves frames into the database file as far as readers allow, without waiting for anybody (`NOOP` only counts). Blocks this thread for the
   * copy and its fsync.
   *
   * @throws LitestreamError unless the only reason is another connection (then `busy` is true)
   */
  checkpoint(mode: 'PASSIVE' | 'TRUNCATE' | 'NOOP'): CheckpointResult {
    try {
      const row = this.#db.prepare(`PRAGMA wal_checkpoint(${mode})`).get();
      return {
        busy: row?.['busy'] !== 0,
        log: Number(row?.['log'] ?? -1),
        checkpointed: Number(row?.['checkpointed'] ?? -1),
      };
    } catch (error) {
      this.#busyOrThrow('checkpoint', error);
      return { busy: true, log: -1, checkpointed: -1 };
    }
  }

  /** First column of the first row. */
  #text(sql: string, what: string): string {
    try {
      const row = this.#db.prepare(sql).get();
      return row === undefined ? '' : String(Object.values(row)[0]);
    } catch (error) {
      throw sqliteError(what, error);
    }
  }

  #busyOrThrow(what: string, error: unknown): false {
    // Tried again and again while somebody else has the lock: no error is made only to be dropped.
    if (codeOf(resultCode(error)) === 'ERR_DB_BUSY') return false;
    throw sqliteError(what, error);
  }

  /** Closes the connection. Only {@link LiveDatabase} decides when: the last close of a file deletes its WAL. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#db.close();
  }
}
