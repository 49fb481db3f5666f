import { errorMessage } from '../lib/errors.ts';
import { lz4Bound } from './lz4.ts';
import {
  BD,
  BD_RESERVED,
  descriptorChecksum,
  FLG,
  FLG_BLOCK_CHECKSUM,
  FLG_CONTENT_CHECKSUM,
  FLG_CONTENT_SIZE,
  FLG_DICTIONARY,
  FLG_RESERVED,
  FLG_VERSION,
  FLG_VERSION_1,
  LZ4_FRAME_MAGIC,
  SMALLEST_BLOCK_CODE,
  STORED,
} from './lz4-frame-descriptor.ts';
import { xxh32 } from './xxh32.ts';

/** Yields how many bytes it wants next and is resumed with exactly that many; they are valid until the next yield. */
export type Parser<T> = Generator<number, T, Uint8Array>;

/** What is wrong with a frame. */
export interface Lz4FrameDamage {
  readonly field: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly expected: string | number;
  readonly found: string | number;
}

/** Where the content of a frame goes. */
export interface Lz4FrameContent {
  /** Exact size in bytes; undefined = unknown. */
  readonly size: number | undefined;
  /** Bytes so far. */
  readonly produced: number;
  /** Takes an uncompressed block, which is gone after the call. */
  store(block: Uint8Array): void;
  /** Takes a compressed block. @throws LitestreamError `ERR_LZ4` if it cannot be decompressed or gives nothing. */
  decompress(block: Uint8Array): void;
  /** XXH32 of all content. */
  checksum(): number;
  /** Throws the caller's error; `text` is the reference's wording. */
  fail(text: string, damage: Lz4FrameDamage): never;
}

const BAD_BLOCK = 'decompress block: lz4: invalid source or destination buffer too short';
const BAD_END = 'read lz4 trailer: expected lz4 end frame';

function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

function u32le(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at + 3]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 1]! << 8) | bytes[at]!) >>> 0
  );
}

class FrameParser {
  readonly #content: Lz4FrameContent;
  /** Offset in the file of what was asked for last. */
  #offset: number;
  #flags = 0;
  #blockMax = 0;
  /** Content size that the descriptor tells. */
  #declared: number | undefined;

  constructor(content: Lz4FrameContent, offset: number) {
    this.#content = content;
    this.#offset = offset;
  }

  *parse(): Parser<void> {
    let at = this.#offset;
    const magic = u32le(yield 4, 0);
    if (magic !== LZ4_FRAME_MAGIC) {
      const text = 'lz4: bad magic number';
      this.#fail(text, 'lz4 magic', hex(LZ4_FRAME_MAGIC, 8), hex(magic, 8));
    }
    at += 4;
    this.#offset = at;
    at += yield* this.#descriptor();
    for (;;) {
      this.#offset = at;
      const word = u32le(yield 4, 0);
      at += 4;
      this.#offset = at;
      if (word === 0) break;
      at += yield* this.#block(word);
    }
    const { produced, size = this.#declared ?? produced } = this.#content;
    if (produced !== size) {
      this.#fail(BAD_BLOCK, 'lz4 content', `${size} bytes`, `${produced} bytes`);
    }
    const found = u32le(yield 4, 0);
    const expected = this.#content.checksum();
    if (found !== expected) {
      this.#fail(BAD_END, 'lz4 content checksum', hex(expected, 8), hex(found, 8));
    }
  }

  /** FLG, BD, optional content size, header checksum. Returns its length. */
  *#descriptor(): Parser<number> {
    const start = yield 2;
    const flg = start[0]!;
    const bd = start[1]!;
    const sizeLength = (flg & FLG_CONTENT_SIZE) === 0 ? 0 : 8;
    const descriptor = new Uint8Array(2 + sizeLength);
    descriptor[0] = flg;
    descriptor[1] = bd;
    // Checked before more is read: the flags decide how long the descriptor is.
    const supported =
      (flg & FLG_VERSION) === FLG_VERSION_1 &&
      (flg & (FLG_RESERVED | FLG_DICTIONARY)) === 0 &&
      (bd & BD_RESERVED) === 0;
    if (!supported) {
      const found = hex((flg << 8) | bd, 4);
      this.#fail('lz4: invalid frame descriptor', 'lz4 descriptor', hex((FLG << 8) | BD, 4), found);
    }
    if (sizeLength > 0) descriptor.set(yield sizeLength, 2);
    const found = (yield 1)[0]!;
    const expected = descriptorChecksum(descriptor);
    if (found !== expected) {
      const text = `lz4: invalid header checksum: got ${found.toString(16)}; expected ${expected.toString(16)}`;
      this.#fail(text, 'lz4 header checksum', hex(expected, 2), hex(found, 2));
    }
    if ((flg & FLG_CONTENT_CHECKSUM) === 0) {
      this.#fail(BAD_END, 'lz4 descriptor', 'a content checksum', 'none');
    }
    const code = bd >>> 4;
    if (code < SMALLEST_BLOCK_CODE) {
      this.#fail('lz4: invalid block size', 'lz4 block size code', '4 to 7', code);
    }
    this.#blockMax = 1 << (8 + 2 * code);
    this.#flags = flg;
    if (sizeLength > 0) this.#checkContentSize(descriptor);
    return descriptor.length + 1;
  }

  #checkContentSize(descriptor: Uint8Array): void {
    const declared = u32le(descriptor, 2) + u32le(descriptor, 6) * 0x1_0000_0000;
    const { size = declared } = this.#content;
    if (declared !== size) {
      const text = 'decompress block: lz4: invalid content size';
      this.#fail(text, 'lz4 content size', size, declared);
    }
    this.#declared = declared;
  }

  /** One data block after its size word. Returns its length without the word. */
  *#block(word: number): Parser<number> {
    const content = this.#content;
    const stored = word >= STORED;
    const size = stored ? word - STORED : word;
    const whole = content.size ?? this.#blockMax;
    const room = content.size === undefined ? whole : whole - content.produced;
    const most = Math.min(this.#blockMax, stored ? room : lz4Bound(whole));
    // Every block must add a byte, or a frame of empty blocks would never end.
    if (size < 1 || size > most || room === 0) {
      const expected = `1 to ${room === 0 ? 0 : most}`;
      this.#fail('lz4: invalid block size', 'lz4 block size', expected, size);
    }
    const block = yield size;
    // The piece is gone after the next yield.
    const checksum = (this.#flags & FLG_BLOCK_CHECKSUM) === 0 ? undefined : xxh32(block);
    if (stored) content.store(block);
    else this.#decompress(block);
    if (checksum === undefined) return size;
    this.#offset += size;
    const found = u32le(yield 4, 0);
    if (found !== checksum) {
      const text = 'lz4: invalid block checksum';
      this.#fail(text, 'lz4 block checksum', hex(checksum, 8), hex(found, 8));
    }
    return size + 4;
  }

  #decompress(block: Uint8Array): void {
    try {
      this.#content.decompress(block);
    } catch (error) {
      this.#fail(BAD_BLOCK, 'lz4 block', 'a valid block', errorMessage(error));
    }
  }

  #fail(text: string, field: string, expected: string | number, found: string | number): never {
    this.#content.fail(text, { field, offset: this.#offset, expected, found });
  }
}

/**
 * Parser of one LZ4 frame. It stops behind the content checksum. Accepted: every version-1 descriptor with a content checksum
 * and without a dictionary; any number of blocks, also such that refer to each other; block checksums; a content size. It asks for
 * at most 4 MiB at a time, and if the content's size is known for at most its `lz4Bound`.
 *
 * @param offset - of the frame in the file, for errors
 * Spec: formats 2.6, 7.2.
 */
export function lz4FrameParser(content: Lz4FrameContent, offset: number): Parser<void> {
  return new FrameParser(content, offset).parse();
}
