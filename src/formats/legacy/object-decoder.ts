import {
  encodeLz4Frame,
  lz4DecompressLinked,
  lz4FrameParser,
  Xxh32,
  type Lz4FrameContent,
  type Lz4FrameDamage,
  type Parser,
} from '../../kernels/index.ts';
import { LitestreamError } from '../../lib/errors.ts';

/** Largest block of any LZ4 frame. */
const BLOCK_MAX = 4 * 1024 * 1024;
/** How far back a match may reach. */
const HISTORY = 64 * 1024;

/** First bytes of a file that was encrypted with age, binary and armoured. */
const AGE_MARKS = ['age-encryption.org/', '-----BEGIN AGE '] as const;
const MAGIC_SIZE = 4;

function damaged(text: string, damage: Lz4FrameDamage): LitestreamError {
  const { field, offset, expected, found } = damage;
  return new LitestreamError(
    'ERR_LZ4',
    `${text} (${field} at byte ${offset}: expected ${expected}, found ${found})`,
    { details: { ...damage } },
  );
}

function encrypted(): LitestreamError {
  return new LitestreamError('ERR_LZ4', 'object is encrypted with age, which cannot be read', {
    hint: 'restore this replica with Litestream v0.3.x and its key',
  });
}

/** One block at a time behind the last 64 KiB of the blocks before it. */
class StreamContent implements Lz4FrameContent {
  readonly size: undefined;
  produced = 0;
  #output: Uint8Array | undefined;
  /** Memory grows with the blocks: most segments are small. */
  #window: Uint8Array<ArrayBuffer> = new Uint8Array(HISTORY);
  /** Where history begins and ends; output is put behind it. */
  #from = HISTORY;
  /** Bytes of the last block. */
  #last = 0;
  readonly #hash = new Xxh32();

  /** What the last block has given, once. Valid until the next block. */
  takeOutput(): Uint8Array | undefined {
    const output = this.#output;
    this.#output = undefined;
    return output;
  }

  store(block: Uint8Array): void {
    this.#reserve(block.length);
    this.#window.set(block, HISTORY);
    this.#take(HISTORY + block.length);
  }

  decompress(block: Uint8Array): void {
    // An LZ4 byte gives at most 255 bytes.
    this.#reserve(Math.min(BLOCK_MAX, block.length * 255));
    const end = lz4DecompressLinked(block, this.#window, HISTORY, this.#from);
    if (end === HISTORY) throw new LitestreamError('ERR_LZ4', 'empty block');
    this.#take(end);
  }

  checksum(): number {
    return this.#hash.digest();
  }

  fail(text: string, damage: Lz4FrameDamage): never {
    throw damaged(text, damage);
  }

  /** Moves the end of the last block into the history and makes room for another. */
  #reserve(size: number): void {
    const end = HISTORY + this.#last;
    const kept = Math.min(HISTORY, end - this.#from);
    this.#window.copyWithin(HISTORY - kept, end - kept, end);
    this.#from = HISTORY - kept;
    this.#last = 0;
    if (this.#window.length >= HISTORY + size) return;
    const larger = new Uint8Array(HISTORY + size);
    larger.set(this.#window.subarray(0, HISTORY));
    this.#window = larger;
  }

  #take(end: number): void {
    this.#output = this.#window.subarray(HISTORY, end);
    this.#last = this.#output.length;
    this.produced += this.#last;
    this.#hash.update(this.#output);
  }
}

/**
 * Decodes a v0.3.x object, which is one LZ4 frame, from pieces of any size. Spec: formats 7.2.
 *
 * Every method throws LitestreamError `ERR_LZ4` with `field`, `offset`, `expected` and `found` in its details for a damaged object,
 * and one with a hint for an object that was encrypted with age. The decoder is of no use after that.
 */
export class LegacyObjectDecoder {
  readonly #content = new StreamContent();
  readonly #parser: Parser<void>;
  /** Collects what the parser wants next. */
  #scratch: Uint8Array<ArrayBuffer> = new Uint8Array(64);
  #have = 0;
  #need: number;
  #done = false;
  #offset = 0;

  constructor() {
    this.#parser = lz4FrameParser(this.#content, 0);
    this.#need = this.#parser.next().value ?? 0;
  }

  /** Bytes of content so far. */
  get produced(): number {
    return this.#content.produced;
  }

  /**
   * Content that the next piece of the object completes, a block at a time. Each array is valid until the next step; all steps
   * must be taken before the next call.
   */
  *write(piece: Uint8Array): Generator<Uint8Array, void, undefined> {
    let rest = piece;
    while (rest.length > 0) {
      if (this.#done) {
        this.#fail('read lz4 trailer: expected lz4 end frame', 'end of object', 'more bytes');
      }
      const part = rest.subarray(0, this.#need - this.#have);
      rest = rest.subarray(part.length);
      this.#offset += part.length;
      if (this.#have === 0 && part.length === this.#need) {
        this.#step(part);
      } else {
        this.#collect(part);
        if (this.#have < this.#need) return;
        this.#have = 0;
        this.#step(this.#scratch.subarray(0, this.#need));
      }
      const output = this.#content.takeOutput();
      if (output !== undefined) yield output;
    }
  }

  /** The object has ended. */
  end(): void {
    if (!this.#done)
      this.#fail('unexpected EOF', `${this.#need - this.#have} more bytes`, 'end of object');
  }

  #collect(part: Uint8Array): void {
    if (this.#scratch.length < this.#need) {
      const larger = new Uint8Array(this.#need);
      larger.set(this.#scratch.subarray(0, this.#have));
      this.#scratch = larger;
    }
    this.#scratch.set(part, this.#have);
    this.#have += part.length;
  }

  #step(bytes: Uint8Array): void {
    const first = this.#offset === MAGIC_SIZE;
    if (
      first &&
      AGE_MARKS.some((mark) => String.fromCharCode(...bytes) === mark.slice(0, MAGIC_SIZE))
    ) {
      throw encrypted();
    }
    const step = this.#parser.next(bytes);
    this.#done = step.done === true;
    this.#need = step.value ?? 0;
  }

  #fail(text: string, expected: string, found: string): never {
    throw damaged(text, { field: 'lz4 frame', offset: this.#offset, expected, found });
  }
}

/** An object as Litestream v0.3.x wrote it. Replicas of that layout are only read; this is for tests and tools. */
export function encodeLegacyObject(content: Uint8Array): Uint8Array<ArrayBuffer> {
  return encodeLz4Frame(content, { blockSizeCode: 7, bytesPerBlock: BLOCK_MAX });
}
