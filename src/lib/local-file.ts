import fs from 'node:fs';
import { closeDirect, DIRECT_ALIGNMENT, DIRECT_BYTES_MIN, openDirect } from './direct-file.ts';
import {
  type FileStat,
  makeFileStat,
  MODE_BITS,
  type OpenFile,
  type Ownership,
  secondsNotBelow,
} from './file-system.ts';
import type { LoopTurns } from './loop-turns.ts';
import { osError, osErrorCode } from './os-error.ts';

/** More than this is read by a thread: it may not be in the page cache. */
const READ_BYTES_MAX = 64 * 1024;
/** More than this is written by a thread: a system with too much to write makes its writers wait. */
const WRITE_BYTES_MAX = 16 * 1024;
/** One call of 1 MiB makes the kernel take two to three times the processor time. Spec: performance 8. */
const WRITE_BYTES = 256 * 1024;

type Callback = (error: NodeJS.ErrnoException | null, result?: number) => void;

/** A file on a local disk: what does not wait for the disk is done at once. {@link close} waits for what a thread still does. */
export class LocalFile implements OpenFile {
  readonly fd: number;
  readonly #path: string;
  readonly #turns: LoopTurns;
  /** Of `openDirect`; undefined before it is needed. */
  #direct: number | undefined;
  /** Calls that threads are in. */
  readonly #running = new Set<Promise<unknown>>();
  #open = true;

  constructor(fd: number, path: string, turns: LoopTurns) {
    this.fd = fd;
    this.#path = path;
    this.#turns = turns;
  }

  async read(_label: string, target: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < target.length) {
      const left = target.length - done;
      const at = position + done;
      const count =
        left <= READ_BYTES_MAX
          ? await this.#now('read', () => fs.readSync(this.fd, target, done, left, at))
          : await this.#later('read', (end) => fs.read(this.fd, target, done, left, at, end));
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  async write(_label: string, bytes: Uint8Array, position: number, hint?: 'direct'): Promise<void> {
    let done = hint === 'direct' ? await this.#writeDirect(bytes, position) : 0;
    while (done < bytes.length) {
      const length = Math.min(WRITE_BYTES, bytes.length - done);
      const at = position + done;
      done +=
        bytes.length <= WRITE_BYTES_MAX
          ? await this.#now('write', () => fs.writeSync(this.fd, bytes, done, length, at))
          : await this.#later('write', (end) => fs.write(this.fd, bytes, done, length, at, end));
    }
  }

  /** Returns how much was written; the rest goes the other way, with all that follows where the file system wants that. */
  async #writeDirect(bytes: Uint8Array, position: number): Promise<number> {
    const length = bytes.length - (bytes.length % DIRECT_ALIGNMENT);
    if (length < DIRECT_BYTES_MIN || position % DIRECT_ALIGNMENT !== 0) return 0;
    this.#direct ??= openDirect(this.fd);
    const direct = this.#direct;
    if (direct < 0) return 0;
    try {
      return await this.#later('write', (end) => fs.write(direct, bytes, 0, length, position, end));
    } catch (error) {
      if (osErrorCode(error) !== 'EINVAL') throw error;
      closeDirect(direct);
      this.#direct = -1;
      return 0;
    }
  }

  async sync(_label: string): Promise<void> {
    await this.#later('fsync', (end) => fs.fsync(this.fd, end));
  }

  async truncate(_label: string, size: number): Promise<void> {
    // Giving back a large file takes its time.
    await this.#later('truncate', (end) => fs.ftruncate(this.fd, size, end));
  }

  async setTimes(_label: string, ms: number): Promise<void> {
    const seconds = secondsNotBelow(ms);
    await this.#now('chtimes', () => fs.futimesSync(this.fd, seconds, seconds));
  }

  async setOwner(_label: string, owner: Ownership): Promise<void> {
    // Most files are born with both: one look instead of two calls.
    const { gid, mode, uid } = await this.#now('stat', () => fs.fstatSync(this.fd));
    if ((mode & MODE_BITS) !== owner.mode) {
      await this.#now('chmod', () => fs.fchmodSync(this.fd, owner.mode));
    }
    if (uid === owner.uid && gid === owner.gid) return;
    try {
      fs.fchownSync(this.fd, owner.uid, owner.gid);
    } catch {
      // Only root may give files away; the content matters, not the owner.
    }
  }

  async stat(_label: string): Promise<FileStat> {
    return makeFileStat(await this.#now('stat', () => fs.fstatSync(this.fd, { bigint: true })));
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    // A descriptor that is closed under a call of another thread may be somebody else's by then.
    await Promise.allSettled(this.#running);
    closeDirect(this.#direct ?? -1);
    this.#direct = -1;
    try {
      fs.closeSync(this.fd);
    } catch (error) {
      throw osError('close', this.#path, error);
    }
  }

  async #now<T>(operation: string, run: () => T): Promise<T> {
    while (this.#turns.isOver()) await this.#turns.next();
    this.#requireOpen(operation);
    try {
      return run();
    } catch (error) {
      throw osError(operation, this.#path, error);
    }
  }

  async #later(operation: string, begin: (end: Callback) => void): Promise<number> {
    this.#requireOpen(operation);
    const running = new Promise<number>((resolve, reject) => {
      begin((error, result = 0) => {
        if (error === null) resolve(result);
        else reject(osError(operation, this.#path, error));
      });
    });
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** The number of a closed file is soon another file's. */
  #requireOpen(operation: string): void {
    if (this.#open) return;
    throw osError(
      operation,
      this.#path,
      Object.assign(new Error('file closed'), { code: 'EBADF' }),
    );
  }
}
