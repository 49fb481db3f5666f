import { LtxFileReader, type Kernel } from '../codec/index.ts';
import { decodeHeader, LTX_HEADER_SIZE, type LtxHeader } from '../formats/ltx/index.ts';
import { assert } from '../lib/assert.ts';
import { wrapError } from '../lib/errors.ts';
import type { OpenFile } from '../lib/file-system.ts';
import { concatBytes } from '../storage/index.ts';
import { damage } from './damage.ts';

const PIECE_BYTES = 128 * 1024;

/** No page has this number: a merge input at its end. */
export const AT_END = 0xffff_ffff;

/** The bytes of one file, from front to back. */
export interface ByteSource {
  /** The next bytes; undefined at the end. They belong to the caller until the next call. */
  next(): Promise<Uint8Array | undefined>;
  close(): Promise<void>;
}

/**
 * Bytes of an open file; closing the source closes it. One buffer serves all reads: a new one for each was half of a merge's
 * work, most of it in the garbage collector.
 *
 * @param size - of the file
 */
export function openFileBytes(file: OpenFile, size: number): ByteSource {
  const piece = new Uint8Array(Math.max(1, Math.min(PIECE_BYTES, size)));
  let position = 0;
  return {
    async next() {
      const found = await file.read('compact:read', piece, position);
      position += found;
      return found === 0 ? undefined : piece.subarray(0, found);
    },
    close: () => file.close(),
  };
}

/** Bytes in memory. */
export function memoryBytes(bytes: Uint8Array): ByteSource {
  let rest: Uint8Array | undefined = bytes;
  return {
    next() {
      const piece = rest;
      rest = undefined;
      return Promise.resolve(piece);
    },
    close: () => Promise.resolve(),
  };
}

/** Bytes of a stream. */
export function streamBytes(stream: AsyncIterable<Uint8Array>): ByteSource {
  const iterator = stream[Symbol.asyncIterator]();
  return {
    async next() {
      const step = await iterator.next();
      return step.done === true ? undefined : step.value;
    },
    async close() {
      await iterator.return?.();
    },
  };
}

/**
 * One input of a merge: its header, then its pages one after the other, each decoded and with its frame in place. The file is
 * verified when its end is reached.
 */
export class MergeInput {
  readonly header: LtxHeader;
  readonly #source: ByteSource;
  #pending: Uint8Array;
  #reader: LtxFileReader | undefined;
  #index = 0;
  /** The current page; {@link AT_END} once all have passed and the file is verified. */
  pgno = 0;

  private constructor(header: LtxHeader, source: ByteSource, first: Uint8Array) {
    this.header = header;
    this.#source = source;
    this.#pending = first;
  }

  /** Reads the header. @throws LitestreamError `ERR_LTX_HEADER`, or what the source throws; the source is closed then. */
  static async open(source: ByteSource): Promise<MergeInput> {
    try {
      let first: Uint8Array = new Uint8Array(0);
      while (first.length < LTX_HEADER_SIZE) {
        const piece = await source.next();
        if (piece === undefined) break;
        // The next call overwrites the piece.
        const whole = first.length === 0 && piece.length >= LTX_HEADER_SIZE;
        first = whole ? piece : concatBytes([first, piece]);
      }
      return new MergeInput(readHeader(first), source, first);
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /** Gives the input its place in a kernel and goes to the first page. */
  async start(place: {
    kernel: Kernel;
    base: number;
    stream: number;
    windowBytes: number;
    pageBytes: number;
  }): Promise<void> {
    this.#reader = new LtxFileReader(place);
    await this.#refill();
  }

  /** Address of the current page in the kernel. */
  get page(): number {
    return this.#required().pageAt(this.#index);
  }

  /** Address of the current page's frame; −1 if it cannot be copied. */
  get frame(): number {
    return this.#required().frameAt(this.#index);
  }

  get frameSize(): number {
    return this.#required().frameSizeAt(this.#index);
  }

  /** Goes to the next page of the run; false if there is none and {@link refill} has to be called. */
  step(): boolean {
    const reader = this.#required();
    if (++this.#index >= reader.count) return false;
    this.pgno = reader.pgnoAt(this.#index);
    return true;
  }

  /** Goes to the first page of the next run, or to the end. */
  refill(): Promise<void> {
    return this.#refill();
  }

  async close(): Promise<void> {
    await this.#source.close();
  }

  #required(): LtxFileReader {
    assert(this.#reader !== undefined, 'the input has been started');
    return this.#reader;
  }

  async #refill(): Promise<void> {
    const reader = this.#required();
    for (;;) {
      const found = reader.next();
      if (found === 'pages') {
        this.#index = 0;
        this.pgno = reader.pgnoAt(0);
        return;
      }
      if (found === 'end') {
        reader.finish();
        this.pgno = AT_END;
        return;
      }
      if (this.#pending.length === 0) {
        const piece = await this.#source.next();
        if (piece === undefined) reader.endInput();
        this.#pending = piece ?? this.#pending;
      }
      const taken = reader.write(this.#pending);
      this.#pending = this.#pending.subarray(taken);
    }
  }
}

function readHeader(first: Uint8Array): LtxHeader {
  if (first.length < LTX_HEADER_SIZE) {
    throw damage('decode header: unexpected EOF', {
      field: 'header',
      offset: first.length,
      expected: `${LTX_HEADER_SIZE} bytes`,
      found: `${first.length} bytes`,
    });
  }
  try {
    return decodeHeader(first.subarray(0, LTX_HEADER_SIZE));
  } catch (error) {
    throw wrapError('decode header', error);
  }
}
