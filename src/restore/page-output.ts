import { write, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { DIRECT_ALIGNMENT, DIRECT_BYTES_MIN } from '../lib/direct-file.ts';
import type { OpenFile } from '../lib/file-system.ts';
import { osError, osErrorCode } from '../lib/os-error.ts';
import { WRITE_BYTES } from './write-spans.ts';

const writeAsync = promisify(write);

/** True if these bytes may go past the page cache, and are enough to be better off there. */
function isDirect(bytes: Uint8Array, position: number): boolean {
  if (bytes.length < DIRECT_BYTES_MIN) return false;
  return ((position % DIRECT_ALIGNMENT) | (bytes.length % DIRECT_ALIGNMENT)) === 0;
}

/** Writes pages with synchronous calls, large aligned runs past the page cache where that works. */
export class PageOutput {
  readonly #descriptor: number;
  readonly #path: string;
  #direct: number;

  /**
   * @param direct - of `openDirect`
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
      if (this.#direct >= 0 && isDirect(bytes, position)) done = this.#writeDirect(bytes, position);
      while (done < bytes.length) {
        const length = Math.min(WRITE_BYTES, bytes.length - done);
        done += writeSync(this.#descriptor, bytes, done, length, position + done);
      }
    } catch (error) {
      throw osError('write', this.#path, error);
    }
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

/** As {@link PageOutput}, for a thread that must not wait. */
export class AsyncPageOutput {
  readonly #output: OpenFile;
  readonly #path: string;
  #direct: number;

  /**
   * @param direct - of `openDirect`
   * @param path - for errors
   */
  constructor(output: OpenFile, direct: number, path: string) {
    this.#output = output;
    this.#direct = direct;
    this.#path = path;
  }

  /** @throws LitestreamError of the operating system's error */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    let done = 0;
    if (this.#direct >= 0 && isDirect(bytes, position)) {
      done = await this.#writeDirect(bytes, position);
    }
    while (done < bytes.length) {
      const part = bytes.subarray(done, done + WRITE_BYTES);
      await this.#output.write('restore:write', part, position + done);
      done += part.length;
    }
  }

  async #writeDirect(bytes: Uint8Array, position: number): Promise<number> {
    try {
      const { bytesWritten } = await writeAsync(this.#direct, bytes, 0, bytes.length, position);
      return bytesWritten;
    } catch (error) {
      if (osErrorCode(error) !== 'EINVAL') throw osError('write', this.#path, error);
      this.#direct = -1;
      return 0;
    }
  }
}
