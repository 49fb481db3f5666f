import { DatabaseSync } from 'node:sqlite';
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  parseDatabaseHeader,
} from '../formats/sqlite/index.ts';
import { assert, present } from '../lib/assert.ts';
import { type Clock, sleep, throwIfAborted } from '../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../lib/errors.ts';
import type { FileStat, FileSystem, OpenFile } from '../lib/file-system.ts';
import { databaseUrl, sqliteError } from './connection.ts';
import { ChangeFinder, equal, type FollowedPages, type FollowerChange } from './follower-change.ts';

/** How long one call of SQLite may wait for a lock. It keeps new readers out meanwhile, so that the last one's end is met. */
const SPIN_MS = 4;
const PAUSE_MS_MAX = 50;
/** How long one change waits for readers. */
const LOCK_MS_MAX = 5_000;
const ROLLBACK_MODE = 1;

export interface FollowedDatabaseOptions {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  /** How long one call of SQLite may wait for a lock, in real milliseconds. Default 4; 0 where readers are in the same thread. */
  readonly spinMs?: number | undefined;
}

/**
 * A database that is kept up to date from outside of SQLite while other processes read it.
 *
 * The file is in rollback-journal mode. A change is written under SQLite's exclusive lock, behind a rollback journal in
 * SQLite's own format: readers wait or see the state before or after it, and a change that was cut short by a crash is rolled
 * back by whoever opens the database next. Only pages that differ are written. Page 1 is written with every change, with
 * another change counter, so that open readers drop their caches.
 *
 * One connection and one descriptor stay open until {@link close}: closing any other descriptor of the file in this process
 * would drop the connection's locks.
 *
 * Spec: replication 23.6 (W-12), formats 6.1 and 6.6.
 */
export class FollowedDatabase {
  readonly path: string;
  readonly #fileSystem: FileSystem;
  readonly #clock: Clock;
  readonly #connection: DatabaseSync;
  readonly #file: OpenFile;
  readonly #identity: FileStat;
  readonly #finder: ChangeFinder;

  private constructor(
    path: string,
    options: FollowedDatabaseOptions,
    held: { connection: DatabaseSync; file: OpenFile; identity: FileStat },
  ) {
    this.path = path;
    this.#fileSystem = options.fileSystem;
    this.#clock = options.clock;
    this.#connection = held.connection;
    this.#file = held.file;
    this.#identity = held.identity;
    const { file, identity } = held;
    this.#finder = new ChangeFinder({
      fileSystem: this.#fileSystem,
      path,
      file,
      mode: identity.mode,
    });
  }

  /**
   * Opens an existing database and changes nothing.
   *
   * @throws LitestreamError `ERR_DB_IO`, `ERR_IO`
   */
  static async open(path: string, options: FollowedDatabaseOptions): Promise<FollowedDatabase> {
    const connection = connect(path, options.spinMs ?? SPIN_MS);
    let file: OpenFile | undefined;
    try {
      file = await options.fileSystem.open('follow:open', path, 'write');
      const identity = await file.stat('follow:stat');
      return new FollowedDatabase(path, options, { connection, file, identity });
    } catch (error) {
      connection.close();
      await file?.close();
      throw error;
    }
  }

  /**
   * Makes sure that the file can be changed: it is still the one that its path leads to, an interrupted change is rolled
   * back, and it is in rollback-journal mode (somebody may have switched it to WAL, which ends as soon as nobody reads it).
   *
   * @throws LitestreamError `ERR_DB_NOT_FOUND` (gone or replaced), `ERR_DB_BUSY`, `ERR_DB_IO`, `ERR_ABORTED`
   */
  async prepare(signal: AbortSignal): Promise<void> {
    await this.#checkPlace();
    if (await this.#hasJournal()) await this.#rollBack(signal);
    if (await this.#isRollbackMode()) return;
    await this.#retry(() => {
      this.#exec('PRAGMA journal_mode = delete');
    }, signal);
    if (!(await this.#isRollbackMode())) throw this.#busy();
  }

  /**
   * Writes one transaction. When this returns, it is on the disk; when it throws, the database is as it was before, at the
   * latest for the next one who opens it.
   *
   * The lock is waited for up to 5 seconds, then held until the pages are on the disk.
   *
   * @throws LitestreamError `ERR_DB_BUSY`, `ERR_DB_INVALID`, `ERR_DISK_FULL`, `ERR_IO`, `ERR_ABORTED` while waiting, and
   *   whatever the pages throw
   */
  async apply(pages: FollowedPages, signal: AbortSignal): Promise<void> {
    const header = await this.#readHeader();
    const before = await this.#file.stat('follow:stat');
    const known = parseDatabaseHeader(header);
    if (pages.commit === 0 || (known !== undefined && known.pageSize !== pages.pageSize)) {
      await drain(pages);
      if (pages.commit === 0) return;
      throw pageSizeChanged(this.path, present(known, 'header'), pages.pageSize);
    }
    const pageCount = Math.floor(before.size / pages.pageSize);
    const change = await this.#finder.prepare(pages, { header, pageCount }, signal);
    try {
      await this.#write(change, signal);
    } finally {
      await change.journal.close();
    }
  }

  /** Closes the connection, then the descriptor. Leaves a database that any program may open. */
  async close(): Promise<void> {
    this.#connection.close();
    await this.#file.close();
    if ((await this.#fileSystem.stat('follow:journal-stat', this.#journalPath))?.size === 0) {
      await this.#fileSystem.remove('follow:journal-remove', this.#journalPath);
    }
  }

  get #journalPath(): string {
    return `${this.path}-journal`;
  }

  async #write(change: FollowerChange, signal: AbortSignal): Promise<void> {
    await this.#retry(() => {
      this.#exec('BEGIN EXCLUSIVE');
    }, signal);
    try {
      // In WAL mode that lock would keep no reader out; and nobody else may have written in between.
      if (!equal(await this.#readHeader(), change.header)) throw this.#foreignWrite();
      await change.journal.arm();
      await this.#writePages(change);
      await change.journal.disarm();
    } catch (error) {
      this.#unlock();
      await this.#rollBackAtOnce();
      throw error;
    }
    this.#unlock();
  }

  async #writePages({ pages, different, pageOne }: FollowerChange): Promise<void> {
    const { pageSize, commit } = pages;
    await this.#file.truncate('follow:truncate', commit * pageSize);
    let at = 0;
    for await (const { pgno, data } of pages.pages()) {
      const end = pgno + data.length / pageSize;
      for (;;) {
        const first = different[at];
        if (first === undefined || first >= end) break;
        let next = first + 1;
        for (at += 1; next < end && different[at] === next; at += 1) next += 1;
        const bytes = data.subarray((first - pgno) * pageSize, (next - pgno) * pageSize);
        await this.#file.write('follow:write', bytes, (first - 1) * pageSize);
      }
    }
    assert(at === different.length, 'both passes over the pages are the same');
    await this.#file.write('follow:write', pageOne, 0);
    await this.#file.sync('follow:sync');
  }

  async #readHeader(): Promise<Uint8Array> {
    const header = new Uint8Array(DATABASE_HEADER_SIZE);
    const length = await this.#file.read('follow:read-header', header, 0);
    return header.subarray(0, length);
  }

  async #checkPlace(): Promise<void> {
    const now = await this.#fileSystem.stat('follow:stat', this.path);
    if (now?.ino === this.#identity.ino && now.dev === this.#identity.dev) return;
    throw new LitestreamError(
      'ERR_DB_NOT_FOUND',
      `followed database was ${now === undefined ? 'removed' : 'replaced by another file'}: ${this.path}`,
      { details: { path: this.path } },
    );
  }

  async #isRollbackMode(): Promise<boolean> {
    const header = parseDatabaseHeader(await this.#readHeader());
    const isRollback =
      header === undefined ||
      (header.readVersion === ROLLBACK_MODE && header.writeVersion === ROLLBACK_MODE);
    // With content in a `-wal` beside it SQLite takes any database for one in WAL mode.
    const wal = await this.#fileSystem.stat('follow:wal-stat', `${this.path}-wal`);
    return isRollback && (wal?.size ?? 0) === 0;
  }

  async #hasJournal(): Promise<boolean> {
    const stat = await this.#fileSystem.stat('follow:journal-stat', this.#journalPath);
    return (stat?.size ?? 0) > 0;
  }

  /** SQLite itself rolls back what it finds in the journal when it takes a lock. */
  async #rollBack(signal: AbortSignal): Promise<void> {
    await this.#retry(() => {
      this.#exec('BEGIN EXCLUSIVE');
    }, signal);
    try {
      // What is left was never armed.
      await this.#fileSystem.remove('follow:journal-remove', this.#journalPath);
    } finally {
      this.#unlock();
    }
  }

  /** After a failed change. If it fails too, the next {@link prepare} or the next reader does it. */
  async #rollBackAtOnce(): Promise<void> {
    try {
      if (await this.#hasJournal()) await this.#rollBack(new AbortController().signal);
    } catch {
      // The change's own error is the one to report.
    }
  }

  #unlock(): void {
    if (this.#connection.isTransaction) this.#exec('ROLLBACK');
  }

  #exec(sql: string): void {
    try {
      this.#connection.exec(sql);
    } catch (error) {
      throw sqliteError('lock followed database', error);
    }
  }

  /** Repeats a statement that found the database locked. */
  async #retry(run: () => void, signal: AbortSignal): Promise<void> {
    const end = this.#clock.monotonic() + LOCK_MS_MAX;
    for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX)) {
      throwIfAborted(signal);
      try {
        run();
        return;
      } catch (error) {
        if (!isLitestreamError(error, 'ERR_DB_BUSY')) throw error;
        if (this.#clock.monotonic() >= end) throw this.#busy(error);
      }
      await sleep(this.#clock, pauseMs, signal);
    }
  }

  #busy(cause?: unknown): LitestreamError {
    return new LitestreamError(
      'ERR_DB_BUSY',
      `database is locked by a reader that does not end its transaction: ${this.path}`,
      { cause, retryable: true, details: { path: this.path } },
    );
  }

  #foreignWrite(): LitestreamError {
    return new LitestreamError(
      'ERR_DB_BUSY',
      `another program has written to the followed database: ${this.path}`,
      { retryable: true, details: { path: this.path } },
    );
  }
}

/** A connection that only locks. It must get its lock even where a torn schema or size would stop a reader. */
function connect(path: string, timeout: number): DatabaseSync {
  let connection: DatabaseSync | undefined;
  try {
    connection = new DatabaseSync(databaseUrl(path, 'rw'), { timeout });
    connection.enableDefensive(false);
    connection.exec('PRAGMA writable_schema = on');
    return connection;
  } catch (error) {
    connection?.close();
    throw sqliteError('open database', error);
  }
}

async function drain(pages: FollowedPages): Promise<void> {
  for await (const _run of pages.pages()) {
    // Only its errors matter.
  }
}

function pageSizeChanged(path: string, known: DatabaseHeader, found: number): LitestreamError {
  return new LitestreamError(
    'ERR_DB_INVALID',
    `page size of the source changed from ${known.pageSize} to ${found}: ${path} cannot follow it`,
    {
      hint: `delete ${path} and ${path}-txid to re-restore`,
      details: { path, expected: known.pageSize, found },
    },
  );
}
