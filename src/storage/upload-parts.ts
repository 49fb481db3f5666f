import { LitestreamError } from '../lib/errors.ts';
import type { WriteSource } from './contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from './header-time.ts';
import { abortable } from './streams.ts';

/** One piece of an upload. */
export interface UploadPart {
  /** From 1. */
  readonly number: number;
  /** First byte of the part in the whole. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly last: boolean;
}

/**
 * A source in parts of equal size, the last one shorter, each in a buffer of its own. The header is checked before the first
 * part comes out, the length before the last one does: a bad source never looks complete to a store.
 *
 * @param partSize - in bytes, at least {@link LTX_HEADER_SIZE}.
 * @throws LitestreamError `ERR_LTX_HEADER` for what does not begin with an LTX header, `ERR_STORAGE` for a source that is
 *   shorter or longer than it says; errors of the source are passed on.
 */
export async function* uploadParts(
  source: WriteSource,
  partSize: number,
  signal?: AbortSignal,
): AsyncGenerator<UploadPart, void, undefined> {
  const filling = new Filling(source.size, partSize);
  for await (const chunk of abortable(source.stream(signal), signal)) {
    for (let at = 0; at < chunk.length;) {
      const full = filling.takeFull();
      if (full !== undefined) yield full;
      at += filling.add(chunk.subarray(at));
    }
  }
  yield filling.takeLast();
}

/** The part that is being filled. */
class Filling {
  readonly #size: number;
  readonly #partSize: number;
  #number = 1;
  #offset = 0;
  #buffer: Uint8Array;
  #filled = 0;

  constructor(size: number, partSize: number) {
    this.#size = size;
    this.#partSize = partSize;
    this.#buffer = this.#allocate();
  }

  /** Takes as much as fits. @returns number of bytes. */
  add(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, this.#buffer.length - this.#filled);
    if (taken.length === 0) throw this.#wrongSize(`more than ${this.#size}`);
    this.#buffer.set(taken, this.#filled);
    this.#filled += taken.length;
    return taken.length;
  }

  /** The part, if it is full and bytes have to follow. */
  takeFull(): UploadPart | undefined {
    if (this.#filled < this.#buffer.length || this.#offset + this.#filled === this.#size) {
      return undefined;
    }
    return this.#take(false);
  }

  takeLast(): UploadPart {
    const found = this.#offset + this.#filled;
    // What is too short for a header is told as that.
    if (found < LTX_HEADER_SIZE) headerTimestamp(this.#buffer.subarray(0, this.#filled));
    if (found !== this.#size) throw this.#wrongSize(String(found));
    return this.#take(true);
  }

  #take(last: boolean): UploadPart {
    const bytes = this.#buffer.subarray(0, this.#filled);
    if (this.#number === 1) headerTimestamp(bytes.subarray(0, LTX_HEADER_SIZE));
    const part = { number: this.#number, offset: this.#offset, bytes, last };
    this.#number++;
    this.#offset += this.#filled;
    this.#filled = 0;
    this.#buffer = last ? new Uint8Array() : this.#allocate();
    return part;
  }

  #allocate(): Uint8Array {
    return new Uint8Array(Math.min(this.#partSize, this.#size - this.#offset));
  }

  #wrongSize(found: string): LitestreamError {
    return new LitestreamError(
      'ERR_STORAGE',
      `source has ${found} bytes, expected ${this.#size}: it changed while it was read`,
      { details: { field: 'size', offset: 0, expected: this.#size, found } },
    );
  }
}
