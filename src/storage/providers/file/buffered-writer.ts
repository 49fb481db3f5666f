import type { OpenFile } from '../../../lib/file-system.ts';
import { onDisk } from './errors.ts';

const BUFFER_SIZE = 256 * 1024;

/** Writes chunks of any size to a file front to back, small ones together. */
export class BufferedWriter {
  readonly #file: OpenFile;
  readonly #label: string;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  #buffered = 0;
  #flushed = 0;

  constructor(file: OpenFile, label: string) {
    this.#file = file;
    this.#label = label;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#buffered + chunk.length > BUFFER_SIZE) await this.flush();
    if (chunk.length >= BUFFER_SIZE) {
      await this.#put(chunk);
      return;
    }
    this.#buffer.set(chunk, this.#buffered);
    this.#buffered += chunk.length;
  }

  async flush(): Promise<void> {
    if (this.#buffered === 0) return;
    await this.#put(this.#buffer.subarray(0, this.#buffered));
    this.#buffered = 0;
  }

  async #put(bytes: Uint8Array): Promise<void> {
    await onDisk(this.#file.write(this.#label, bytes, this.#flushed));
    this.#flushed += bytes.length;
  }
}
