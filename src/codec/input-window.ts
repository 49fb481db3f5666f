import { assert } from '../lib/assert.ts';

/** Where a window lies in a memory. */
export interface InputWindowOptions {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Start; the window takes {@link windowBytes}. */
  readonly base: number;
  /** Bytes of one part. */
  readonly partBytes: number;
  /**
   * Room in front of each of two parts for what a part leaves unread, at most a frame: one part can be filled while frames in
   * the other one are still wanted. Undefined: one part.
   */
  readonly gapBytes?: number | undefined;
}

/** Memory that a window takes. */
export function windowBytes({
  partBytes,
  gapBytes,
}: Pick<InputWindowOptions, 'gapBytes' | 'partBytes'>): number {
  return gapBytes === undefined ? partBytes : 2 * (gapBytes + partBytes);
}

/** The bytes of a file that have been read and not been used, in a kernel's memory. */
export class InputWindow {
  readonly #options: InputWindowOptions;
  /** Start of the part in use. */
  #part: number;
  #start: number;
  #end: number;
  #offset = 0;

  constructor(options: InputWindowOptions) {
    this.#options = options;
    this.#part = options.base + (options.gapBytes ?? 0);
    this.#start = this.#end = this.#part;
  }

  /** Address of the first unread byte. */
  get start(): number {
    return this.#start;
  }

  /** Address behind the last one. */
  get end(): number {
    return this.#end;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  /** Offset in the file of {@link start}. */
  get offset(): number {
    return this.#offset;
  }

  unread(): Uint8Array<ArrayBuffer> {
    return this.#options.bytes.subarray(this.#start, this.#end);
  }

  /** Free memory behind the unread bytes, which move to the front of the part for it. */
  room(): Uint8Array<ArrayBuffer> {
    const { bytes, partBytes } = this.#options;
    if (this.#start > this.#part) {
      bytes.copyWithin(this.#part, this.#start, this.#end);
      this.#end = this.#part + this.length;
      this.#start = this.#part;
    }
    return bytes.subarray(this.#end, this.#part + partBytes);
  }

  /** The first `length` bytes of {@link room} are now unread ones. */
  filled(length: number): void {
    this.#end += length;
    assert(this.#end <= this.#part + this.#options.partBytes, 'input stays in the window');
  }

  /** The part that is not in use; undefined if there is one only. */
  ahead(): Uint8Array<ArrayBuffer> | undefined {
    const { bytes, gapBytes, partBytes } = this.#options;
    if (gapBytes === undefined) return undefined;
    const part = this.#other(gapBytes);
    return bytes.subarray(part, part + partBytes);
  }

  /** The first `length` bytes of {@link ahead} follow the unread ones. The other part becomes free. */
  turnOver(length: number): void {
    const { bytes, gapBytes = 0, partBytes } = this.#options;
    assert(
      this.length <= gapBytes && length <= partBytes,
      'what is unread fits in front of a part',
    );
    const part = this.#other(gapBytes);
    const start = part - this.length;
    bytes.copyWithin(start, this.#start, this.#end);
    this.#part = part;
    this.#start = start;
    this.#end = part + length;
  }

  /** Leaves the bytes where they are: their frames may still be wanted. */
  advance(length: number): void {
    this.#start += length;
    this.#offset += length;
  }

  #other(gapBytes: number): number {
    const { base, partBytes } = this.#options;
    const first = base + gapBytes;
    return this.#part === first ? first + partBytes + gapBytes : first;
  }
}
