import { constants, write, type BigIntStats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname } from 'node:path';
import { closeDirect, DIRECT_ALIGNMENT, DIRECT_BYTES_MIN, openDirect } from './direct-file.ts';
import { type FileTime, setExactTimes } from './exact-times.ts';
import { isMissing, osError, osErrorCode } from './os-error.ts';
import { whileOpen } from './while-open.ts';

/** What a caller may want to know about a path. */
export interface FileStat {
  readonly kind: 'file' | 'directory' | 'other';
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since the Unix epoch, with fraction. */
  readonly mtimeMs: number;
  /** Permission bits only (0o7777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly dev: bigint;
  readonly ino: bigint;
}

/** Permission bits and owner that a new file or folder should take; the owner is set where that is allowed. */
export interface Ownership {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** An open file. Writes are complete or throw. */
export interface OpenFile {
  readonly fd: number;
  read(label: string, target: Uint8Array, position: number): Promise<number>;
  /**
   * @param hint - `direct`: nobody reads the bytes soon, they may go past the page cache. Works for bytes of `alignedBytes` at aligned
   * positions; otherwise it changes nothing.
   */
  write(label: string, bytes: Uint8Array, position: number, hint?: 'direct'): Promise<void>;
  sync(label: string): Promise<void>;
  truncate(label: string, size: number): Promise<void>;
  /** Sets access and modification time: never below the wanted millisecond, and less than half a microsecond above. */
  setTimes(label: string, ms: number): Promise<void>;
  setOwner(label: string, owner: Ownership): Promise<void>;
  stat(label: string): Promise<FileStat>;
  close(): Promise<void>;
}

export type OpenMode = 'read' | 'write' | 'create' | 'create-new';

/**
 * The file operations of everything that is not SQLite. Each call carries a label (`l0:rename`) so that a test can fail or
 * stop exactly that one. Errors are `LitestreamError`s in the reference's words with `details.errno`.
 *
 * Never to be used on a managed database or its `-shm`: closing any descriptor of those drops SQLite's locks.
 */
export interface FileSystem {
  /** `create` truncates an existing file; `create-new` fails with EEXIST; `write` opens an existing one for writing. */
  open(label: string, path: string, mode: OpenMode, permissions?: number): Promise<OpenFile>;
  rename(label: string, from: string, to: string): Promise<void>;
  /** Gives a file a second name; fails with EEXIST if that is taken. */
  link(label: string, from: string, to: string): Promise<void>;
  /** A missing file counts as removed. */
  remove(label: string, path: string): Promise<void>;
  removeTree(label: string, path: string): Promise<void>;
  /** Names in a folder, unsorted; a missing folder is empty. */
  list(label: string, path: string): Promise<string[]>;
  /** Undefined if nothing is there. */
  stat(label: string, path: string): Promise<FileStat | undefined>;
  /** Creates a folder and its missing parents; each new one gets the ownership. Mode 0700 without one. */
  makeDirectory(label: string, path: string, owner?: Ownership): Promise<void>;
  /** Makes names in a folder durable. Silently does nothing where the platform cannot. */
  syncDirectory(label: string, path: string): Promise<void>;
  /** Copies a file's bytes in the kernel, replacing the target. */
  copy(label: string, from: string, to: string): Promise<void>;
  /** Bytes a normal user may still write on the path's file system. */
  freeBytes(label: string, path: string): Promise<number>;
  /**
   * Sets access and modification time of existing files to the very millisecond where the platform can, which
   * {@link OpenFile.setTimes} misses by a fraction of a microsecond. Best effort: never throws, passes missing files over.
   */
  setExactTimes(label: string, entries: readonly FileTime[]): Promise<void>;
}

export const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
  'create-new': constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
};

/** Of a mode: permissions without the kind of file. */
export const MODE_BITS = 0o7777;

export function makeFileStat(stats: BigIntStats): FileStat {
  return {
    kind: stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other',
    size: Number(stats.size),
    // Through microseconds: nanoseconds since 1970 exceed 2^53 and would turn 474 ms into 473.9998.
    mtimeMs: Number(stats.mtimeNs / 1000n) / 1000,
    mode: Number(stats.mode) & MODE_BITS,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    dev: stats.dev,
    ino: stats.ino,
  };
}

/** Runs a system call and translates its error. */
async function call<T>(operation: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw osError(operation, path, error);
  }
}

/**
 * Seconds as Node takes them. A double holds present times in steps of 238 ns, so most milliseconds are missed; the next
 * step above is taken, because readers that cut off fractions must not see the millisecond before.
 */
export function secondsNotBelow(ms: number): number {
  const seconds = ms / 1000;
  const wantedMs = ms - Math.floor(seconds) * 1000;
  return (seconds - Math.floor(seconds)) * 1000 < wantedMs
    ? seconds + Math.abs(seconds) * Number.EPSILON
    : seconds;
}

/** Writes to a bare descriptor. */
function pwrite(
  descriptor: number,
  bytes: Uint8Array,
  length: number,
  position: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    write(descriptor, bytes, 0, length, position, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}

/** One call of 1 MiB makes the kernel take two to three times the processor time. Spec: performance 8. */
const WRITE_BYTES = 256 * 1024;

class NodeFile implements OpenFile {
  readonly #handle: fs.FileHandle;
  readonly #path: string;
  /** Of {@link openDirect}; undefined before it is needed. */
  #direct: number | undefined;

  constructor(handle: fs.FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  get fd(): number {
    return this.#handle.fd;
  }

  async read(_label: string, target: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < target.length) {
      const { bytesRead } = await call('read', this.#path, () =>
        this.#handle.read(target, done, target.length - done, position + done),
      );
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async write(_label: string, bytes: Uint8Array, position: number, hint?: 'direct'): Promise<void> {
    let done = hint === 'direct' ? await this.#writeDirect(bytes, position) : 0;
    while (done < bytes.length) {
      const length = Math.min(WRITE_BYTES, bytes.length - done);
      const { bytesWritten } = await call('write', this.#path, () =>
        this.#handle.write(bytes, done, length, position + done),
      );
      done += bytesWritten;
    }
  }

  /** Returns how much was written; the rest goes the other way, with all that follows where the file system wants that. */
  async #writeDirect(bytes: Uint8Array, position: number): Promise<number> {
    const length = bytes.length - (bytes.length % DIRECT_ALIGNMENT);
    if (length < DIRECT_BYTES_MIN || position % DIRECT_ALIGNMENT !== 0) return 0;
    this.#direct ??= openDirect(this.#handle.fd);
    const direct = this.#direct;
    if (direct < 0) return 0;
    try {
      return await call('write', this.#path, () => pwrite(direct, bytes, length, position));
    } catch (error) {
      if (osErrorCode(error) !== 'EINVAL') throw error;
      closeDirect(direct);
      this.#direct = -1;
      return 0;
    }
  }

  async sync(_label: string): Promise<void> {
    await call('fsync', this.#path, () => this.#handle.sync());
  }

  async truncate(_label: string, size: number): Promise<void> {
    await call('truncate', this.#path, () => this.#handle.truncate(size));
  }

  async setTimes(_label: string, ms: number): Promise<void> {
    const seconds = secondsNotBelow(ms);
    await call('chtimes', this.#path, () => this.#handle.utimes(seconds, seconds));
  }

  async setOwner(_label: string, owner: Ownership): Promise<void> {
    // Most files are born with both: one look instead of two calls.
    const { gid, mode, uid } = await call('stat', this.#path, () => this.#handle.stat());
    if ((mode & MODE_BITS) !== owner.mode) {
      await call('chmod', this.#path, () => this.#handle.chmod(owner.mode));
    }
    if (uid === owner.uid && gid === owner.gid) return;
    try {
      await this.#handle.chown(owner.uid, owner.gid);
    } catch {
      // Only root may give files away; the content matters, not the owner.
    }
  }

  async stat(_label: string): Promise<FileStat> {
    return makeFileStat(await call('stat', this.#path, () => this.#handle.stat({ bigint: true })));
  }

  async close(): Promise<void> {
    closeDirect(this.#direct ?? -1);
    this.#direct = -1;
    await call('close', this.#path, () => this.#handle.close());
  }
}

/** With its parents. Some folders take none although they exist (`/proc`): the second attempt is the last. */
async function makeOwnedDirectory(
  path: string,
  owner: Ownership | undefined,
  again = false,
): Promise<void> {
  try {
    await fs.mkdir(path, owner?.mode ?? 0o700);
  } catch (error) {
    if (osErrorCode(error) === 'EEXIST') {
      if ((await fs.stat(path)).isDirectory()) return;
      throw osError(
        'mkdir',
        path,
        Object.assign(new Error('not a directory'), { code: 'ENOTDIR' }),
      );
    }
    if (!isMissing(error) || dirname(path) === path || again) throw osError('mkdir', path, error);
    await makeOwnedDirectory(dirname(path), owner);
    await makeOwnedDirectory(path, owner, true);
    return;
  }
  if (owner === undefined) return;
  const { gid, mode, uid } = await call('stat', path, () => fs.stat(path));
  if ((mode & MODE_BITS) !== owner.mode) {
    await call('chmod', path, () => fs.chmod(path, owner.mode));
  }
  if (uid === owner.uid && gid === owner.gid) return;
  try {
    await fs.chown(path, owner.uid, owner.gid);
  } catch {
    // As for files: only root may.
  }
}

/** `rm` looks twice before it removes, which nobody needs but Windows with its read-only files. */
async function removeFile(path: string): Promise<void> {
  if (process.platform === 'win32') return fs.rm(path, { force: true });
  try {
    await fs.unlink(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** The real file system. */
export const nodeFileSystem: FileSystem = {
  async open(_label, path, mode, permissions) {
    return new NodeFile(
      await call('open', path, () => fs.open(path, OPEN_FLAGS[mode], permissions ?? 0o666)),
      path,
    );
  },
  async link(_label, from, to) {
    await call('link', `${from} ${to}`, () => fs.link(from, to));
  },
  async rename(_label, from, to) {
    await call('rename', `${from} ${to}`, () => whileOpen(() => fs.rename(from, to)));
  },
  async remove(_label, path) {
    await call('remove', path, () => whileOpen(() => removeFile(path)));
  },
  async removeTree(_label, path) {
    await call('remove', path, () => fs.rm(path, { force: true, recursive: true }));
  },
  async list(_label, path) {
    try {
      return await fs.readdir(path);
    } catch (error) {
      if (isMissing(error)) return [];
      throw osError('open', path, error);
    }
  },
  async stat(_label, path) {
    try {
      return makeFileStat(await fs.stat(path, { bigint: true }));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw osError('stat', path, error);
    }
  },
  async makeDirectory(_label, path, owner) {
    await makeOwnedDirectory(path, owner);
  },
  async syncDirectory(_label, path) {
    if (process.platform === 'win32') return;
    const handle = await call('open', path, () => fs.open(path, constants.O_RDONLY));
    try {
      await call('fsync', path, () => handle.sync());
    } finally {
      await handle.close();
    }
  },
  async copy(_label, from, to) {
    await call('copy', `${from} ${to}`, () => fs.copyFile(from, to));
  },
  async freeBytes(_label, path) {
    const stats = await call('statfs', path, () => fs.statfs(path));
    return stats.bavail * stats.bsize;
  },
  async setExactTimes(_label, entries) {
    await setExactTimes(entries);
  },
};
