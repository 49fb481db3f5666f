import type { Attributes, FileEntry, SFTPWrapper } from 'ssh2';
import { present } from '../../../lib/assert.ts';
import { raceAbort } from '../../streams.ts';
import type { Done, SftpConnection } from './connection.ts';
import { hasStatus, STATUS } from './errors.ts';

const TYPE_BITS = 0o170000;
const KINDS: ReadonlyMap<number, EntryKind> = new Map([
  [0o100000, 'file'],
  [0o040000, 'directory'],
  [0o120000, 'link'],
]);

export type EntryKind = 'file' | 'directory' | 'link' | 'other';

/** What the server says about a file. */
export interface RemoteStat {
  readonly kind: EntryKind;
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since the Unix epoch, in whole seconds: the protocol has no more. */
  readonly modifiedAt: number;
}

export interface RemoteEntry extends RemoteStat {
  readonly name: string;
}

function toStat({ mode, size, mtime }: Partial<Attributes>): RemoteStat {
  // A server may leave out what it does not know; everything but a folder can be read.
  const kind = mode === undefined ? 'file' : (KINDS.get(mode & TYPE_BITS) ?? 'other');
  return { kind, size: size ?? 0, modifiedAt: (mtime ?? 0) * 1000 };
}

/**
 * The requests of the protocol over one connection. Errors are `SftpStatusError`s, or those of the connection, or `ERR_ABORTED` when
 * the signal fires.
 */
export class RemoteFiles {
  readonly #connection: SftpConnection;
  readonly #signal: AbortSignal | undefined;

  constructor(connection: SftpConnection, signal: AbortSignal | undefined) {
    this.#connection = connection;
    this.#signal = signal;
  }

  /** The same without the signal: for what cleans up. */
  get untilDone(): RemoteFiles {
    return new RemoteFiles(this.#connection, undefined);
  }

  open(path: string, mode: 'r' | 'w'): Promise<Buffer> {
    return this.#open((sftp, done) => {
      sftp.open(path, mode, done);
    });
  }

  async close(handle: Buffer): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.close(handle, done);
    });
  }

  /** Bytes at a position; fewer than asked for only at the end of the file. */
  async read(handle: Buffer, position: number, size: number): Promise<Uint8Array> {
    const buffer = Buffer.alloc(size);
    let count = 0;
    while (count < size) {
      const from = count;
      const found = await this.#call<number>((sftp, done) => {
        sftp.read(handle, buffer, from, size - from, position + from, done);
      });
      if (found === undefined || found === 0) break;
      count += found;
    }
    return new Uint8Array(buffer.buffer, buffer.byteOffset, count);
  }

  async write(handle: Buffer, bytes: Uint8Array, position: number): Promise<void> {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    await this.#call<undefined>((sftp, done) => {
      sftp.write(handle, buffer, 0, buffer.length, position, (error) => {
        done(error);
      });
    });
  }

  async fileStat(handle: Buffer): Promise<RemoteStat> {
    const stat = await this.#call<Attributes>((sftp, done) => {
      sftp.fstat(handle, done);
    });
    return toStat(stat ?? {});
  }

  /** Follows symbolic links. Undefined if nothing is there. */
  async stat(path: string): Promise<RemoteStat | undefined> {
    try {
      const stat = await this.#call<Attributes>((sftp, done) => {
        sftp.stat(path, done);
      });
      return toStat(stat ?? {});
    } catch (error) {
      if (hasStatus(error, STATUS.noSuchFile)) return undefined;
      throw error;
    }
  }

  /** Sets access and modification time of an open file, in whole seconds. */
  async setTimes(handle: Buffer, seconds: number): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.futimes(handle, seconds, seconds, done);
    });
  }

  async setTimesOf(path: string, seconds: number): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.utimes(path, seconds, seconds, done);
    });
  }

  /** Makes a file's bytes durable where the server can; OpenSSH can. */
  async sync(handle: Buffer): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.ext_openssh_fsync(handle, done);
    }).catch(unlessUnsupported);
  }

  /** Fails if the new name is taken, as the protocol says. */
  async rename(from: string, to: string): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.rename(from, to, done);
    });
  }

  /** Takes over the new name from whatever has it, in one step. Status `unsupported` where the server cannot. */
  async replace(from: string, to: string): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.ext_openssh_rename(from, to, done);
    });
  }

  /** A missing file counts as removed. */
  async remove(path: string): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.unlink(path, done);
    }).catch(unlessMissing);
  }

  async removeDirectory(path: string): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.rmdir(path, done);
    }).catch(unlessMissing);
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#call<undefined>((sftp, done) => {
      sftp.mkdir(path, done);
    });
  }

  /** Everything in a folder but `.` and `..`, in no order. */
  async list(path: string): Promise<RemoteEntry[]> {
    const handle = await this.#open((sftp, done) => {
      sftp.opendir(path, done);
    });
    const entries: RemoteEntry[] = [];
    try {
      for (;;) {
        const some = await this.#call<FileEntry[]>((sftp, done) => {
          sftp.readdir(handle, done);
        });
        for (const { filename, attrs } of some ?? [])
          if (filename !== '.' && filename !== '..')
            entries.push({ name: filename, ...toStat(attrs) });
      }
    } catch (error) {
      if (!hasStatus(error, STATUS.endOfFile)) throw error;
      return entries;
    } finally {
      // What could go wrong here has gone wrong before.
      this.untilDone.close(handle).catch(() => undefined);
    }
  }

  /** Bytes that may still be written where the path lies; undefined where the server does not tell. */
  async freeBytes(path: string): Promise<number | undefined> {
    try {
      const facts = await this.#call<FileSystemFacts>((sftp, done) => {
        sftp.ext_openssh_statvfs(path, done);
      });
      return facts === undefined ? undefined : facts.f_bavail * facts.f_frsize;
    } catch {
      return undefined;
    }
  }

  /** A handle; closed again if it comes after the signal has fired. */
  async #open(request: (sftp: SFTPWrapper, done: Done<Buffer>) => void): Promise<Buffer> {
    const opening = this.#connection.call(request, undefined);
    try {
      return present(await raceAbort(opening, this.#signal), 'handle');
    } catch (error) {
      const closing = opening.then((handle) => this.untilDone.close(present(handle, 'handle')));
      closing.catch(() => {
        // There is no handle.
      });
      throw error;
    }
  }

  #call<T>(request: (sftp: SFTPWrapper, done: Done<T>) => void): Promise<T | undefined> {
    return this.#connection.call(request, this.#signal);
  }
}

/** What OpenSSH tells of a file system, in the names of the library. */
interface FileSystemFacts {
  readonly f_bavail: number;
  readonly f_frsize: number;
}

function unlessMissing(error: unknown): void {
  if (!hasStatus(error, STATUS.noSuchFile)) throw error;
}

function unlessUnsupported(error: unknown): void {
  if (!hasStatus(error, STATUS.unsupported)) throw error;
}
