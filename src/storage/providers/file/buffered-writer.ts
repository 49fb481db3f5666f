import { EarlySync } from '../../../lib/early-sync.ts';
import type { OpenFile } from '../../../lib/file-system.ts';
import { onDisk } from './errors.ts';

const BUFFER_SIZE_MAX = 256 * 1024;

/** Writes chunks of any size to a file front to back, small ones together. */
export class BufferedWriter {
  readonly #file: OpenFile;
  readonly #label: string;
  readonly #buffer: Uint8Array;
  readonly #early: EarlySync;
  #buffered = 0;
  #flushed = 0;

  /** @param size - expected bytes in all; less memory is taken for a small file. */
  constructor(file: OpenFile, label: string, size: number) {
    this.#file = file;
    this.#label = label;
    this.#early = new EarlySync(file, 'file:sync-early');
    this.#buffer = new Uint8Array(Math.min(BUFFER_SIZE_MAX, Math.max(size, 1)));
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#buffered + chunk.length > this.#buffer.length) await this.flush();
    if (chunk.length >= this.#buffer.length) {
      await this.#put(chunk);
      return;
    }
    this.#buffer.set(chunk, this.#buffered);
    this.#buffered += chunk.length;
  }

  /** Writes what is left, and waits until the file may be closed. */
  async end(): Promise<void> {
    await this.flush();
    await onDisk(this.#early.settle());
  }

  async flush(): Promise<void> {
    if (this.#buffered === 0) return;
    await this.#put(this.#buffer.subarray(0, this.#buffered));
    this.#buffered = 0;
  }

  async #put(bytes: Uint8Array): Promise<void> {
    const written = this.#file.write(this.#label, bytes, this.#flushed);
    await onDisk(written.then(() => this.#early.note(bytes.length)));
    this.#flushed += bytes.length;
  }
}
