import { closeSync, fstatSync, openSync, readSync, statSync, type BigIntStats } from 'node:fs';
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  parseDatabaseHeader,
} from '../formats/sqlite/index.ts';
import { osError, osErrorCode } from '../lib/os-error.ts';
import { LitestreamError } from '../lib/errors.ts';

/** What tells whether a path still leads to the same file, and whether that file may have changed. */
export interface FileIdentity {
  readonly kind: 'file' | 'directory' | 'other';
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: number;
  /** Nanoseconds; unlike the modification time nobody can set it. */
  readonly changedNs: bigint;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

function identity(stats: BigIntStats): FileIdentity {
  return {
    kind: stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other',
    dev: stats.dev,
    ino: stats.ino,
    size: Number(stats.size),
    changedNs: stats.ctimeNs,
    mode: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
  };
}

/** Identity of whatever the path leads to now; undefined if nothing is there. `stat` never touches locks. */
export function identify(path: string): FileIdentity | undefined {
  try {
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stats === undefined ? undefined : identity(stats);
  } catch (error) {
    if (osErrorCode(error) === 'ENOTDIR') return undefined;
    throw osError('stat', path, error);
  }
}

/** True if both are the same file. */
export function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}

/**
 * The header of a database file; undefined if it has none. Opens and closes the file: only for a process, or at a moment, without any
 * SQLite connection of its own to it.
 *
 * @throws LitestreamError `ERR_IO`
 */
export function readDatabaseHeader(path: string): DatabaseHeader | undefined {
  const file = PinnedFile.open(path);
  try {
    const bytes = new Uint8Array(DATABASE_HEADER_SIZE);
    const length = file.read(bytes, 0, bytes.length, 0);
    return parseDatabaseHeader(bytes.subarray(0, length));
  } finally {
    file.close();
  }
}

/** Takes descriptors whose closing has to wait (see {@link PinnedFile.close}). */
export type DescriptorSink = (fd: number) => void;

/**
 * One long-lived descriptor on a database file or its `-wal`, for positioned reads.
 *
 * Closing any descriptor of a database file drops all POSIX locks that this process holds on it, SQLite's included. So
 * there is one per database and process, opened after the first SQLite connection and closed after the last.
 */
export class PinnedFile {
  readonly path: string;
  readonly #fd: number;
  readonly #identity: FileIdentity;
  #closed = false;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
    this.#identity = identity(fstatSync(fd, { bigint: true }));
  }

  /** @throws LitestreamError `ERR_IO` */
  static open(path: string): PinnedFile {
    try {
      return new PinnedFile(path, openSync(path, 'r'));
    } catch (error) {
      throw osError('open', path, error);
    }
  }

  /** As it was when opened: only `dev` and `ino` stay true. */
  get identity(): FileIdentity {
    return this.#identity;
  }

  /** For positioned reads elsewhere, which have to end before {@link close}. @throws LitestreamError `ERR_DB_IO` once closed */
  descriptor(): number {
    this.#requireOpen();
    return this.#fd;
  }

  /** Bytes now. */
  size(): number {
    this.#requireOpen();
    return fstatSync(this.#fd).size;
  }

  stat(): FileIdentity {
    this.#requireOpen();
    return identity(fstatSync(this.#fd, { bigint: true }));
  }

  /** Reads up to `length` bytes to `target[start…]`; returns how many there were. */
  read(target: Uint8Array, start: number, length: number, position: number): number {
    this.#requireOpen();
    let done = 0;
    try {
      while (done < length) {
        const n = readSync(this.#fd, target, start + done, length - done, position + done);
        if (n === 0) break;
        done += n;
      }
    } catch (error) {
      throw osError('read', this.path, error);
    }
    return done;
  }

  /** Reads exactly `target.length` bytes. @throws LitestreamError `ERR_DB_IO` if the file ends before. */
  readExactly(target: Uint8Array, position: number): void {
    const found = this.read(target, 0, target.length, position);
    if (found !== target.length) {
      throw new LitestreamError(
        'ERR_DB_IO',
        `read ${this.path}: unexpected end of file at offset ${position + found}, expected ${target.length - found} more bytes`,
        { details: { path: this.path, offset: position, expected: target.length, found } },
      );
    }
  }

  /** The number may belong to another file by now. */
  #requireOpen(): void {
    if (!this.#closed) return;
    throw new LitestreamError('ERR_DB_IO', `read ${this.path}: file already closed`, {
      details: { path: this.path },
    });
  }

  /** Closes the descriptor, or hands it to whoever knows when that is safe. */
  close(sink: DescriptorSink = closeSync): void {
    if (this.#closed) return;
    this.#closed = true;
    sink(this.#fd);
  }
}
