import { realpathSync } from 'node:fs';
import { assert, present } from '../lib/assert.ts';
import { isLitestreamError, LitestreamError } from '../lib/errors.ts';
import { osError } from '../lib/os-error.ts';
import type { CheckpointWorker } from './checkpoint-worker.ts';
import { Connection, type CheckpointResult } from './connection.ts';
import {
  type DescriptorSink,
  type FileIdentity,
  identify,
  PinnedFile,
  sameFile,
} from './database-file.ts';

export interface LiveDatabaseOptions {
  /** Absolute path; a symbolic link is resolved, because SQLite keeps `-wal` and `-shm` beside the link's target. */
  readonly path: string;
  readonly worker: CheckpointWorker;
  /** Receives the descriptors at close instead of closing them, where other code of this process may hold locks. */
  readonly descriptorSink?: DescriptorSink | undefined;
}

/** Why the files under the path are no longer the ones that are open. */
export type Replacement = 'database removed' | 'database replaced' | 'wal removed' | 'wal replaced';

/**
 * A database in use by an application: our connections to it, and the one descriptor each on the file and its WAL.
 *
 * Its purpose is **custody**: from open to close at least one read transaction of ours (during a barrier: the write lock)
 * exists at every instant, so that no frame can leave the WAL before it was captured. The rule that makes this work is the
 * caller's: a reader ends only after a capture that started after its successor's begin has reached the end of the WAL.
 * See DESIGN.md.
 */
export class LiveDatabase {
  /** Resolved path. */
  readonly path: string;
  /** As given: a link may be turned to another file. */
  readonly #givenPath: string;
  readonly walPath: string;
  /** Bytes. */
  readonly pageSize: number;
  readonly #worker: CheckpointWorker;
  readonly #sink: DescriptorSink | undefined;
  readonly #file: PinnedFile;
  #wal: PinnedFile | undefined;
  #seenSize: number | undefined;
  #seenWal: FileIdentity | undefined;
  #active: Connection;
  #successor: Connection | undefined;
  #lock: Connection | undefined;
  #checkpointer: Connection | undefined;
  /** Frames that SQLite counted when the files were replaced. */
  #lastCount: number | undefined;

  private constructor(path: string, connection: Connection, options: LiveDatabaseOptions) {
    this.path = path;
    this.#givenPath = options.path;
    this.walPath = `${path}-wal`;
    this.#worker = options.worker;
    this.#sink = options.descriptorSink;
    this.#active = connection;
    this.pageSize = connection.pageSize();
    this.#file = PinnedFile.open(path);
  }

  /**
   * Opens the database, switches it to WAL mode if necessary, and begins the first read transaction. Nothing stays open
   * after an error.
   *
   * @returns undefined if another connection's lock prevents it at the moment: try again.
   * @throws LitestreamError `ERR_DB_INVALID`, `ERR_DB_READONLY`, `ERR_DB_IO`, `ERR_IO`
   */
  static open(options: LiveDatabaseOptions): LiveDatabase | undefined {
    const path = resolveLinks(options.path);
    checkKind(path);
    const connection = unlessBusy(() => Connection.open(path));
    if (connection === undefined) return undefined;
    let database: LiveDatabase | undefined;
    try {
      const mode = enableWal(connection);
      if (mode === undefined || !connection.dropCache().beginRead()) {
        connection.close();
        return undefined;
      }
      database = new LiveDatabase(path, connection, options);
      return database;
    } catch (error) {
      connection.close();
      database?.closeFiles();
      throw error;
    }
  }

  /** Identity and mode of the database file as it was when opened. */
  get identity(): FileIdentity {
    return this.#file.identity;
  }

  /** Bytes of the database file now. */
  fileSize(): number {
    return this.#file.size();
  }

  /** Reads one page, or as many adjacent ones as `target` holds, from the database file (never from the WAL). */
  readPage(pgno: number, target: Uint8Array): void {
    this.#file.readExactly(target, (pgno - 1) * this.pageSize);
  }

  /** Of the database file, for positioned reads. @throws LitestreamError `ERR_DB_IO` once the database is closed */
  descriptor(): number {
    return this.#file.descriptor();
  }

  /**
   * The open WAL. It exists from open to close, because a connection with a read transaction keeps it.
   *
   * @throws LitestreamError `ERR_IO` if the file cannot be opened
   */
  wal(): PinnedFile {
    this.#wal ??= PinnedFile.open(this.walPath);
    return this.#wal;
  }

  /** Bytes of the database file at the last {@link replacement}; undefined before. Costs nothing. */
  get seenSize(): number | undefined {
    return this.#seenSize;
  }

  /** What stood under the path of the WAL at the last {@link replacement}. */
  get seenWal(): FileIdentity | undefined {
    return this.#seenWal;
  }

  /** Compares the files under the paths with the open ones. Costs two `stat` calls. */
  replacement(): Replacement | undefined {
    const now = identify(this.#givenPath);
    if (now === undefined) return 'database removed';
    if (!sameFile(now, this.#file.identity)) return 'database replaced';
    this.#seenSize = now.size;
    this.#seenWal = identify(this.walPath);
    return this.walReplacement(this.#seenWal);
  }

  /** The same for the WAL alone, given its identity. */
  walReplacement(now: FileIdentity | undefined): Replacement | undefined {
    if (now === undefined) return 'wal removed';
    return sameFile(now, this.wal().identity) ? undefined : 'wal replaced';
  }

  /**
   * After a {@link replacement}: true if nobody who opens the database by its path can write to the open WAL.
   * Whoever finds a WAL beside another database takes it for that one's.
   */
  isDetached(): boolean {
    if (identify(this.#givenPath) === undefined) return true;
    return this.walReplacement(identify(this.walPath)) !== undefined;
  }

  /** Begins the successor of the active reader. False if a lock of somebody else prevents it now. */
  beginSuccessor(): boolean {
    this.#successor ??= Connection.open(this.path).dropCache();
    return this.#successor.inTransaction || this.#successor.beginRead();
  }

  /** Ends a successor that will not be promoted. */
  dropSuccessor(): void {
    this.#successor?.rollback();
  }

  /** Ends the active reader and makes the successor active. Only after a full capture since {@link beginSuccessor}. */
  promoteSuccessor(): void {
    const successor = present(this.#successor, 'successor');
    assert(successor.inTransaction, 'the successor holds a read transaction');
    const former = this.#active;
    former.rollback();
    this.#active = successor;
    this.#successor = former;
  }

  /** Takes the write lock without waiting; nobody can commit, restart or truncate until {@link endBarrier}. */
  beginBarrier(): boolean {
    this.#lock ??= Connection.open(this.path);
    return this.#lock.beginImmediate();
  }

  /** Ends the active reader while the barrier stands in for it. */
  suspendReader(): void {
    assert(this.#lock?.inTransaction === true, 'the barrier stands');
    this.#active.rollback();
  }

  /** Begins the active reader again. False if a lock prevents it now: the barrier has to stay until it succeeds. */
  resumeReader(): boolean {
    return this.#active.inTransaction || this.#active.beginRead();
  }

  /** True while the active reader has its read transaction. */
  get readerStands(): boolean {
    return this.#active.inTransaction;
  }

  /** Gives the write lock back, always: the application comes first. Nothing was written, nothing is committed. */
  endBarrier(): void {
    this.#lock?.rollback();
  }

  /** PASSIVE checkpoint on this thread: for tails of a few hundred frames. */
  checkpointTail(): CheckpointResult {
    this.#checkpointer ??= Connection.open(this.path);
    return this.#checkpointer.checkpoint('PASSIVE');
  }

  /**
   * Frames that SQLite counts in the current WAL. A commit frame behind them is not committed: its writer may have died before
   * it was registered, and the next writer will overwrite it. Touches nothing, waits for nobody; −1 if it cannot be told now.
   */
  registeredFrames(): number {
    if (this.#lastCount !== undefined) return this.#lastCount;
    this.#checkpointer ??= Connection.open(this.path);
    return this.#checkpointer.checkpoint('NOOP').log;
  }

  /**
   * After a {@link replacement}, when a new connection would open other files: asks for the frames once more and for the last
   * time. May take the active reader for it and begin it again at once: unchanged salts prove that nothing happened meanwhile.
   * False if there is no answer, or the reader does not stand again.
   */
  countOnce(): boolean {
    if (this.#checkpointer === undefined) this.#active.rollback();
    this.#lastCount = (this.#checkpointer ?? this.#active).checkpoint('NOOP').log;
    return this.#lastCount >= 0 && this.resumeReader();
  }

  /** Lets the worker thread start, in the background. */
  prepareBulk(): void {
    this.#worker.prepare();
  }

  /** PASSIVE checkpoint on the worker thread: for anything longer. */
  checkpointBulk(): Promise<CheckpointResult> {
    return this.#worker.checkpoint(this.path);
  }

  /**
   * Empties the WAL file if every frame is in the database file, nobody writes, and no reader stands in the WAL; never waits
   * and never copies. Everything must have been captured.
   */
  truncateWal(): CheckpointResult {
    this.#checkpointer ??= Connection.open(this.path);
    return this.#checkpointer.checkpoint('TRUNCATE');
  }

  /** Closes the connections that an idle database does not need. Never the last one. */
  async closeSpares(): Promise<void> {
    assert(this.#active.inTransaction, 'the active reader stands');
    this.#closeConnections([this.#successor, this.#lock, this.#checkpointer]);
    await this.#forgetWorker();
  }

  #closeConnections(connections: readonly (Connection | undefined)[]): void {
    for (const connection of connections) {
      try {
        connection?.close();
      } catch {
        // SQLite has released what it could; the others still have to go.
      }
    }
    this.#successor = this.#lock = this.#checkpointer = undefined;
  }

  async #forgetWorker(): Promise<void> {
    try {
      await this.#worker.forget(this.path);
    } catch {
      // The thread has ended, and its connections with it.
    }
  }

  /** True if connections beyond the active reader are open. */
  get hasSpares(): boolean {
    return (this.#successor ?? this.#lock ?? this.#checkpointer) !== undefined;
  }

  /**
   * Ends all transactions and closes everything, in an order that keeps the WAL: a read-only connection goes last, and
   * SQLite does not delete the WAL when such a one closes.
   */
  async close(): Promise<void> {
    await this.#forgetWorker();
    let last: Connection | undefined;
    try {
      last = Connection.open(this.path, 'ro');
      last.beginRead();
    } catch {
      // The file is gone or unreadable: there is no WAL left to protect.
    }
    this.#closeConnections([this.#successor, this.#lock, this.#checkpointer, this.#active]);
    this.#closeConnections([last]);
    this.closeFiles();
  }

  /** Closes the descriptors; the connections are closed already. */
  closeFiles(): void {
    this.#wal?.close();
    this.#wal = undefined;
    this.#file.close(this.#sink);
  }
}

function resolveLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw osError('open', path, error);
  }
}

function checkKind(path: string): void {
  const found = identify(path);
  const errno = found === undefined ? 'ENOENT' : found.kind === 'directory' ? 'EISDIR' : undefined;
  if (errno !== undefined) throw osError('open', path, Object.assign(new Error(), { code: errno }));
}

/** What `call` gives; undefined if another connection's lock prevents it now. */
function unlessBusy<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (isLitestreamError(error, 'ERR_DB_BUSY')) return undefined;
    throw error;
  }
}

/** The mode after `PRAGMA journal_mode = wal`; undefined while somebody's lock prevents the switch. */
function enableWal(connection: Connection): 'wal' | undefined {
  const mode = unlessBusy(() => connection.enableWal());
  if (mode === undefined || mode === 'wal') return mode;
  throw new LitestreamError('ERR_DB_IO', `enable wal failed, mode="${mode}"`, {
    hint: 'the file system may not support shared memory; keep the database on a local disk',
  });
}
