import { realpathSync } from 'node:fs';
import {
  createFrameScan,
  DATABASE_HEADER_SIZE,
  parseDatabaseHeader,
  parseWalHeader,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalHeader,
  walSize,
} from '../formats/sqlite/index.ts';
import { type Clock, sleep } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import { osError } from '../lib/os-error.ts';
import { Connection } from './connection.ts';
import { identify, PinnedFile } from './database-file.ts';

/** How often the beginning is tried again, because a commit fell into it or a lock was in the way. */
const ATTEMPTS = 1000;
const RETRY_MS = 3;
const WINDOW_BYTES = 1 << 20;
const WAL_VERSION = 2;

/** A place in one generation of a WAL: what is before it has been committed. */
export interface WalPosition {
  readonly salt1: number;
  readonly salt2: number;
  /** Bytes from the start of the WAL. */
  readonly offset: number;
}

/** Frames of a WAL that a state consists of, beside the database file. */
interface Overlay {
  readonly commit: number;
  /** Index = page number; 0 = the page is in the database file, else number of its frame plus one. */
  readonly frames: Uint32Array;
}

/** What SQLite and the WAL say at one instant. */
interface Instant {
  /** Frames registered as committed. */
  readonly log: number;
  /** Frames that are in the database file. */
  readonly backfilled: number;
  readonly header: WalHeader | undefined;
}

/**
 * A look at a database that another process may be using and replicating: one read transaction, under which the pages of a state can be
 * read byte for byte, bypassing SQLite. Nothing is written, no checkpoint runs, and the WAL stays when it closes (the read-only
 * connection goes last). Like every reader it keeps the WAL from being restarted, so it should not last.
 *
 * Reachable are the state at the beginning, and later ones: with the read mark above 0 every frame of this generation stays in the
 * WAL; with mark 0 nothing can be moved into the file while this reader stands.
 */
export class SourceView {
  /** Bytes. */
  readonly pageSize: number;
  readonly #reader: Connection;
  readonly #counter: Connection;
  readonly #file: PinnedFile;
  readonly #walPath: string;
  #wal: PinnedFile | undefined;
  readonly #start: Instant;
  #overlay: Overlay;

  private constructor(init: {
    reader: Connection;
    counter: Connection;
    file: PinnedFile;
    walPath: string;
    wal: PinnedFile | undefined;
    start: Instant;
    pageSize: number;
  }) {
    this.#reader = init.reader;
    this.#counter = init.counter;
    this.#file = init.file;
    this.#walPath = init.walPath;
    this.#wal = init.wal;
    this.#start = init.start;
    this.pageSize = init.pageSize;
    this.#overlay = this.#fileOnly();
  }

  /**
   * Begins. A text says why there is nothing to look at: the file is missing, not a database, or not in WAL mode.
   *
   * @throws LitestreamError `ERR_DB_BUSY`, `ERR_DB_READONLY` (no right to write), `ERR_DB_INVALID`, `ERR_DB_IO`, `ERR_ABORTED`
   */
  static async open(
    path: string,
    clock: Clock,
    signal?: AbortSignal,
  ): Promise<SourceView | string> {
    if (identify(path)?.kind !== 'file') return `there is no database at ${path}`;
    const parts = openParts(path);
    try {
      const header = new Uint8Array(DATABASE_HEADER_SIZE);
      parts.file.read(header, 0, header.length, 0);
      const database = parseDatabaseHeader(header);
      if (database?.writeVersion !== WAL_VERSION) {
        parts.close();
        return `${path} is not in WAL mode`;
      }
      const { counter, file, reader, resolved } = parts;
      const walPath = `${resolved}-wal`;
      const { start, wal } = await begin({ reader, counter, walPath, clock, signal });
      const { pageSize } = database;
      return new SourceView({ reader, counter, file, walPath, wal, start, pageSize });
    } catch (error) {
      parts.close();
      throw error;
    }
  }

  /** Pages of the state that {@link seek} chose. */
  get commit(): number {
    return this.#overlay.commit;
  }

  /**
   * Chooses the state at a position of the WAL, or the state at the beginning.
   *
   * @returns false if that state cannot be reached: it is older, not written yet, or of a generation that nothing is known of
   */
  seek(position?: WalPosition): boolean {
    const overlay = position === undefined ? this.#atStart() : this.#at(position);
    if (overlay !== undefined) this.#overlay = overlay;
    return overlay !== undefined;
  }

  /** True if every frame was in the database file at the beginning. */
  get #isMoved(): boolean {
    return this.#start.backfilled === this.#start.log;
  }

  #atStart(): Overlay | undefined {
    const { header, log } = this.#start;
    return this.#isMoved ? this.#fileOnly() : this.#scan(header, log, 0);
  }

  #at(position: WalPosition): Overlay | undefined {
    if (this.#isStart(position)) return this.#atStart();
    const { header, log } = this.#start;
    const frames = (position.offset - WAL_HEADER_SIZE) / (WAL_FRAME_HEADER_SIZE + this.pageSize);
    if (!Number.isInteger(frames) || frames < 1) return undefined;
    const now = this.#headerNow();
    if (now === undefined || !hasSalts(now, position)) return undefined;
    const same = header !== undefined && hasSalts(now, header);
    if (same) return frames < log ? undefined : this.#scan(now, frames, this.#isMoved ? log : 0);
    return this.#isMoved ? this.#scan(now, frames, 0) : undefined;
  }

  /** Puts pages `first` … `first + count − 1` of the chosen state side by side into `target`. */
  read(first: number, count: number, target: Uint8Array): void {
    const { pageSize } = this;
    this.#file.read(target, 0, count * pageSize, (first - 1) * pageSize);
    for (let page = 0; page < count; page++) {
      const frame = this.#overlay.frames[first + page] ?? 0;
      if (frame === 0) continue;
      const at = walSize(frame - 1, pageSize) + WAL_FRAME_HEADER_SIZE;
      this.#wal?.readExactly(target.subarray(page * pageSize, (page + 1) * pageSize), at);
    }
  }

  /** Ends the transaction and closes everything; the WAL stays. */
  close(): void {
    closeAll(this.#reader, this.#counter, this.#file);
    this.#wal?.close();
  }

  #isStart({ offset, salt1, salt2 }: WalPosition): boolean {
    const { header, log } = this.#start;
    if (header === undefined || !hasSalts(header, { salt1, salt2 })) return false;
    return offset === walSize(log, this.pageSize);
  }

  #headerNow(): WalHeader | undefined {
    this.#wal ??= openWal(this.#walPath);
    return this.#wal === undefined ? undefined : readHeader(this.#wal);
  }

  /** Everything is in the database file, which stands still. */
  #fileOnly(): Overlay {
    const commit = Math.floor(this.#file.size() / this.pageSize);
    return { commit, frames: new Uint32Array(0) };
  }

  /** Verifies the first `count` frames and notes the newest of each page, from frame `from` on. */
  #scan(header: WalHeader | undefined, count: number, from: number): Overlay | undefined {
    const wal = this.#wal;
    const { pageSize } = this;
    if (wal === undefined || header?.pageSize !== pageSize) return undefined;
    const frameBytes = WAL_FRAME_HEADER_SIZE + pageSize;
    const perWindow = Math.max(1, Math.floor(WINDOW_BYTES / frameBytes));
    const words = new Int32Array((perWindow * frameBytes) / 4);
    const bytes = new Uint8Array(words.buffer);
    const scan = createFrameScan(perWindow);
    Object.assign(scan, { salt1: header.salt1, salt2: header.salt2 });
    scan.bigEndian = header.bigEndian;
    scan.pageSize = pageSize;
    scan.pair[0] = header.checksum1 | 0;
    scan.pair[1] = header.checksum2 | 0;
    let frames = new Uint32Array(1024);
    let commit = 0;
    for (let at = 0; at < count;) {
      const wanted = Math.min(perWindow, count - at);
      const length = wal.read(bytes, 0, wanted * frameBytes, walSize(at, pageSize));
      if (scanFrames(words, length, scan) < wanted) return undefined;
      for (let frame = 0; frame < wanted; frame++, at++) {
        const pgno = scan.pgnos[frame] ?? 0;
        commit = scan.commits[frame] ?? 0;
        if (at < from) continue;
        if (pgno >= frames.length) frames = grow(frames, pgno);
        frames[pgno] = at + 1;
      }
    }
    // A state ends with a commit.
    return commit === 0 ? undefined : { commit, frames };
  }
}

interface Parts {
  readonly resolved: string;
  readonly reader: Connection;
  readonly counter: Connection;
  readonly file: PinnedFile;
  close(): void;
}

function openParts(path: string): Parts {
  let resolved: string;
  try {
    resolved = realpathSync(path);
  } catch (error) {
    throw osError('open', path, error);
  }
  const reader = Connection.open(resolved, 'ro');
  let counter: Connection | undefined;
  let file: PinnedFile;
  try {
    counter = Connection.open(resolved);
    file = PinnedFile.open(resolved);
  } catch (error) {
    counter?.close();
    reader.close();
    throw error;
  }
  const opened = counter;
  return { resolved, reader, counter, file, close: () => closeAll(reader, opened, file) };
}

/** The read-only connection last: it does not delete the WAL. The descriptor after it: closing it drops its locks. */
function closeAll(reader: Connection, counter: Connection, file: PinnedFile): void {
  counter.close();
  reader.close();
  file.close();
}

interface BeginInit {
  readonly reader: Connection;
  readonly counter: Connection;
  readonly walPath: string;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

/** Begins the read transaction so that its end in the WAL is known: SQLite counts the same frames before and after. */
async function begin(init: BeginInit): Promise<{ start: Instant; wal: PinnedFile | undefined }> {
  const { clock, counter, reader, signal, walPath } = init;
  let wal: PinnedFile | undefined;
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      wal ??= openWal(walPath);
      const before = instant(counter, wal);
      if (before !== undefined && reader.beginRead()) {
        const after = instant(counter, wal);
        if (after !== undefined && sameInstant(before, after)) return { start: after, wal };
        reader.rollback();
      }
      await sleep(clock, RETRY_MS, signal);
    }
  } catch (error) {
    wal?.close();
    throw error;
  }
  wal?.close();
  throw new LitestreamError('ERR_DB_BUSY', 'database is locked (5) (SQLITE_BUSY)', {
    retryable: true,
  });
}

function openWal(path: string): PinnedFile | undefined {
  return identify(path) === undefined ? undefined : PinnedFile.open(path);
}

function instant(counter: Connection, wal: PinnedFile | undefined): Instant | undefined {
  const { checkpointed, log } = counter.checkpoint('NOOP');
  if (log < 0) return undefined;
  const header = log === 0 || wal === undefined ? undefined : readHeader(wal);
  if (log > 0 && header === undefined) return undefined;
  return { log, backfilled: checkpointed, header };
}

function sameInstant(a: Instant, b: Instant): boolean {
  if (a.log !== b.log || a.backfilled !== b.backfilled) return false;
  if (a.header === undefined || b.header === undefined) return a.header === b.header;
  return hasSalts(a.header, b.header);
}

function readHeader(wal: PinnedFile): WalHeader | undefined {
  const bytes = new Uint8Array(WAL_HEADER_SIZE);
  const length = wal.read(bytes, 0, bytes.length, 0);
  const parsed = parseWalHeader(bytes.subarray(0, length));
  return parsed.kind === 'ok' ? parsed.header : undefined;
}

function hasSalts(
  header: Pick<WalHeader, 'salt1' | 'salt2'>,
  other: Pick<WalHeader, 'salt1' | 'salt2'>,
): boolean {
  return header.salt1 === other.salt1 && header.salt2 === other.salt2;
}

function grow(frames: Uint32Array<ArrayBuffer>, pgno: number): Uint32Array<ArrayBuffer> {
  const grown = new Uint32Array(Math.max(pgno + 1, frames.length * 2));
  grown.set(frames);
  return grown;
}
