import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { platform } from 'node:os';
import { osError, osErrorCode } from '../lib/os-error.ts';
import { WRITE_BYTES } from './write-spans.ts';

/** What direct writes must be multiples of: the largest block of any disk. Spec: performance 8. */
export const DIRECT_ALIGNMENT = 4096;
/** Below, a copy into the page cache is cheaper than waiting for the disk. */
const DIRECT_BYTES_MIN = 64 * 1024;

/**
 * A second descriptor of an open file that writes past the page cache, −1 where there is no such thing. A restored database
 * has to reach the disk anyway; the copy in the page cache takes more processor time than decoding the pages, and its memory
 * is taken from other programs.
 */
export function openDirect(descriptor: number): number {
  // Only Linux has both.
  if (platform() !== 'linux') return -1;
  try {
    return openSync(`/proc/self/fd/${descriptor}`, constants.O_WRONLY | constants.O_DIRECT);
  } catch {
    return -1;
  }
}

export function closeDirect(descriptor: number): void {
  if (descriptor >= 0) closeSync(descriptor);
}

/** Writes pages with synchronous calls, large aligned runs past the page cache where that works. */
export class PageOutput {
  readonly #descriptor: number;
  readonly #path: string;
  #direct: number;

  /**
   * @param direct - of {@link openDirect}
   * @param path - for errors
   */
  constructor(descriptor: number, direct: number, path: string) {
    this.#descriptor = descriptor;
    this.#direct = direct;
    this.#path = path;
  }

  /** @throws LitestreamError of the operating system's error */
  write(bytes: Uint8Array, position: number): void {
    let done = 0;
    try {
      if (this.#isDirect(bytes, position)) done = this.#writeDirect(bytes, position);
      while (done < bytes.length) {
        const length = Math.min(WRITE_BYTES, bytes.length - done);
        done += writeSync(this.#descriptor, bytes, done, length, position + done);
      }
    } catch (error) {
      throw osError('write', this.#path, error);
    }
  }

  #isDirect(bytes: Uint8Array, position: number): boolean {
    if (this.#direct < 0 || bytes.length < DIRECT_BYTES_MIN) return false;
    return ((position % DIRECT_ALIGNMENT) | (bytes.length % DIRECT_ALIGNMENT)) === 0;
  }

  /** Returns how much was written; the rest goes the other way, with all that follows where the file system wants that. */
  #writeDirect(bytes: Uint8Array, position: number): number {
    try {
      return writeSync(this.#direct, bytes, 0, bytes.length, position);
    } catch (error) {
      if (osErrorCode(error) !== 'EINVAL') throw error;
      this.#direct = -1;
      return 0;
    }
  }
}
