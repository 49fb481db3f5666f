import { LtxFileReader, type FrameRuns, type Kernel } from '../codec/index.ts';
import { decodeHeader, LTX_HEADER_SIZE, type LtxHeader } from '../formats/ltx/index.ts';
import { assert } from '../lib/assert.ts';
import { wrapError } from '../lib/errors.ts';
import type { OpenFile } from '../lib/file-system.ts';
import { damage } from './damage.ts';

/** No page has this number: a merge input at its end. */
export const AT_END = 0xffff_ffff;

/** The bytes of one file, from front to back. */
export interface ByteSource {
  /** Bytes that are expected in all; there may be more or fewer. */
  readonly size: number;
  /** Reading is as cheap now as later, so it may be done ahead. */
  readonly isLocal: boolean;
  /** Fills the target, which is not empty, as far as there are bytes; 0 at the end. One call at a time. */
  read(target: Uint8Array): Promise<number>;
  /** Not while a read is pending. */
  close(): Promise<void>;
}

/** Bytes of an open file; closing the source closes it. */
export function openFileBytes(file: OpenFile, size: number): ByteSource {
  let position = 0;
  return {
    size,
    isLocal: true,
    async read(target) {
      const found = await file.read('compact:read', target, position);
      position += found;
      return found;
    },
    close: () => file.close(),
  };
}

/** Bytes in memory. */
export function memoryBytes(bytes: Uint8Array): ByteSource {
  let rest = bytes;
  return {
    size: bytes.length,
    isLocal: true,
    read(target) {
      const piece = rest.subarray(0, target.length);
      target.set(piece);
      rest = rest.subarray(piece.length);
      return Promise.resolve(piece.length);
    },
    close: () => Promise.resolve(),
  };
}

/** Bytes of a stream. */
export function streamBytes(stream: AsyncIterable<Uint8Array>, size: number): ByteSource {
  const iterator = stream[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  return {
    size,
    isLocal: false,
    async read(target) {
      while (rest.length === 0) {
        const step = await iterator.next();
        if (step.done === true) return 0;
        rest = step.value;
      }
      const piece = rest.subarray(0, target.length);
      target.set(piece);
      rest = rest.subarray(piece.length);
      return piece.length;
    },
    async close() {
      await iterator.return?.();
    },
  };
}

/** What a read that was begun ahead has come to. Kept, because nobody may be waiting for it. */
type Ahead = { readonly count: number } | { readonly error: unknown };

/**
 * One input of a merge: its header, then its pages one after the other, each decoded once, with its frame in place and the
 * register of that. The file is verified when its end is reached.
 */
export class MergeInput {
  readonly header: LtxHeader;
  readonly #source: ByteSource;
  readonly #first: Uint8Array;
  #reader: LtxFileReader | undefined;
  #ahead: Promise<Ahead> | undefined;
  #index = 0;
  /** The current page; {@link AT_END} once all have passed and the file is verified. */
  pgno = 0;

  private constructor(header: LtxHeader, source: ByteSource, first: Uint8Array) {
    this.header = header;
    this.#source = source;
    this.#first = first;
  }

  /** Reads the header. @throws LitestreamError `ERR_LTX_HEADER`, or what the source throws; the source is closed then. */
  static async open(source: ByteSource): Promise<MergeInput> {
    try {
      const first = new Uint8Array(LTX_HEADER_SIZE);
      let length = 0;
      while (length < first.length) {
        const count = await source.read(first.subarray(length));
        if (count === 0) break;
        length += count;
      }
      return new MergeInput(readHeader(first.subarray(0, length)), source, first);
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /**
   * How its reader is to be laid out.
   *
   * @param mostBytes - for what is held of the file
   */
  runs(mostBytes: number): FrameRuns {
    const { isLocal, size } = this.#source;
    const { pageSize } = this.header;
    // One byte more shows whether the file ends where it should.
    const rest = Math.max(1, size - LTX_HEADER_SIZE + 1);
    return isLocal && rest > mostBytes / 2
      ? { pageSize, partBytes: Math.floor(mostBytes / 2), ahead: true }
      : { pageSize, partBytes: Math.max(LTX_HEADER_SIZE, Math.min(rest, mostBytes)), ahead: false };
  }

  /** Gives the input its place in a kernel and goes to the first page. */
  async start(place: {
    kernel: Kernel;
    base: number;
    stream: number;
    frames: FrameRuns;
  }): Promise<void> {
    this.#reader = new LtxFileReader(place);
    this.#reader.write(this.#first);
    if (!this.#next()) await this.refill();
  }

  /** Address of the current page in the kernel, where its frame cannot be copied. */
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

  /** Address of the frame's register. */
  get sum(): number {
    return this.#required().sumAt(this.#index);
  }

  /** Goes to the next page; false if there is none in memory and {@link refill} has to be called. */
  step(): boolean {
    const reader = this.#required();
    if (++this.#index >= reader.count) return this.#next();
    this.pgno = reader.pgnoAt(this.#index);
    return true;
  }

  /** Reads on, to the next page or to the end. */
  async refill(): Promise<void> {
    const reader = this.#required();
    do {
      const count = await this.#read(reader);
      if (count === 0) reader.endInput();
    } while (!this.#next());
  }

  async close(): Promise<void> {
    await this.#ahead;
    await this.#source.close();
  }

  #required(): LtxFileReader {
    assert(this.#reader !== undefined, 'the input has been started');
    return this.#reader;
  }

  /** Decodes what is in memory; false if more has to be read. */
  #next(): boolean {
    const reader = this.#required();
    const found = reader.next();
    if (found === 'input') return false;
    if (found === 'end') {
      reader.finish();
      this.pgno = AT_END;
    } else {
      this.#index = 0;
      this.pgno = reader.pgnoAt(0);
    }
    return true;
  }

  async #read(reader: LtxFileReader): Promise<number> {
    const target = reader.ahead();
    if (target === undefined) {
      const count = await this.#source.read(reader.room());
      reader.filled(count);
      return count;
    }
    const found = await (this.#ahead ?? this.#begin(target));
    this.#ahead = undefined;
    if ('error' in found) throw found.error;
    reader.turnOver(found.count);
    const free = reader.ahead();
    if (found.count > 0 && free !== undefined) this.#ahead = this.#begin(free);
    return found.count;
  }

  #begin(target: Uint8Array): Promise<Ahead> {
    return this.#source.read(target).then(
      (count) => ({ count }),
      (error: unknown) => ({ error }),
    );
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
