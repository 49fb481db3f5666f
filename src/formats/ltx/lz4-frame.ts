import { lz4Bound, lz4Decompress, xxh32 } from '../../kernels/index.ts';
import { errorMessage, LitestreamError } from '../../lib/errors.ts';
import { damaged, hex } from './damage.ts';
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

/** Yields how many bytes it wants next and is resumed with exactly that many; they are valid until the next yield. */
export type Parser<T> = Generator<number, T, Uint8Array>;

function u32le(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at + 3]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 1]! << 8) | bytes[at]!) >>> 0
  );
}

/** Decodes one LZ4 frame that holds one page; one instance per page. Spec: formats 2.6. */
class FrameParser {
  readonly #page: Uint8Array;
  readonly #prefix: string;
  /** Offset in the file of what was asked for last. */
  #offset: number;
  #produced = 0;
  #flags = 0;
  #blockMax = 0;

  constructor(page: Uint8Array, offset: number, prefix: string) {
    this.#page = page;
    this.#offset = offset;
    this.#prefix = prefix;
  }

  *parse(): Parser<void> {
    let at = this.#offset;
    const magic = u32le(yield 4, 0);
    if (magic !== LZ4_FRAME_MAGIC)
      this.#fail('lz4: bad magic number', 'lz4 magic', hex(LZ4_FRAME_MAGIC, 8), hex(magic, 8));
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
    const page = this.#page;
    if (this.#produced !== page.length) {
      const text = 'decompress block: lz4: invalid source or destination buffer too short';
      this.#fail(text, 'lz4 content', `${page.length} bytes`, `${this.#produced} bytes`);
    }
    const found = u32le(yield 4, 0);
    const expected = xxh32(page);
    if (found !== expected) {
      const text = 'read lz4 trailer: expected lz4 end frame';
      this.#fail(text, 'lz4 content checksum', hex(expected, 8), hex(found, 8));
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
      const text = 'read lz4 trailer: expected lz4 end frame';
      this.#fail(text, 'lz4 descriptor', 'a content checksum', 'none');
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
    const size = u32le(descriptor, 2) + u32le(descriptor, 6) * 0x1_0000_0000;
    if (size !== this.#page.length) {
      const text = 'decompress block: lz4: invalid content size';
      this.#fail(text, 'lz4 content size', this.#page.length, size);
    }
  }

  /** One data block after its size word. Returns its length without the word. */
  *#block(word: number): Parser<number> {
    const stored = word >= STORED;
    const size = stored ? word - STORED : word;
    const room = this.#page.length - this.#produced;
    const most = Math.min(this.#blockMax, stored ? room : lz4Bound(this.#page.length));
    // Every block must add a byte, or a frame of empty blocks would never end.
    if (size < 1 || size > most || room === 0) {
      this.#fail(
        'lz4: invalid block size',
        'lz4 block size',
        `1 to ${room === 0 ? 0 : most}`,
        size,
      );
    }
    const block = yield size;
    if (stored) {
      this.#page.set(block, this.#produced);
      this.#produced += size;
    } else {
      this.#decompress(block);
    }
    if ((this.#flags & FLG_BLOCK_CHECKSUM) === 0) return size;
    // The piece is gone after the next yield.
    const expected = xxh32(block);
    this.#offset += size;
    const found = u32le(yield 4, 0);
    if (found !== expected) {
      const text = 'lz4: invalid block checksum';
      this.#fail(text, 'lz4 block checksum', hex(expected, 8), hex(found, 8));
    }
    return size + 4;
  }

  #decompress(block: Uint8Array): void {
    const page = this.#page;
    try {
      if (this.#produced === 0 && decodedLength(block, page.length) === page.length) {
        lz4Decompress(block, page);
        this.#produced = page.length;
      } else {
        // Blocks of one frame may refer to the output of earlier ones, which the kernel does not know.
        const end = decodeLinked(block, page, this.#produced);
        if (end <= this.#produced) throw new LitestreamError('ERR_LZ4', 'empty block');
        this.#produced = end;
      }
    } catch (error) {
      const text = 'decompress block: lz4: invalid source or destination buffer too short';
      this.#fail(text, 'lz4 block', 'a valid block', errorMessage(error));
    }
  }

  #fail(text: string, field: string, expected: string | number, found: string | number): never {
    throw damaged(`${this.#prefix}${text}`, { field, offset: this.#offset, expected, found });
  }
}

/** A walk over the sequences of a block. */
interface Cursor {
  at: number;
}

/** The nibble plus the length bytes that follow if it is 15. */
function longLength(block: Uint8Array, cursor: Cursor, nibble: number): number {
  let length = nibble;
  if (nibble < 15) return length;
  for (;;) {
    const byte = block[cursor.at++];
    if (byte === undefined) throw new LitestreamError('ERR_LZ4', 'length runs past the block');
    length += byte;
    if (byte !== 255) return length;
  }
}

/** Bytes that `block` decompresses to, or −1 if that is more than `limit` or the block is malformed. */
function decodedLength(block: Uint8Array, limit: number): number {
  const cursor = { at: 0 };
  let length = 0;
  while (cursor.at < block.length) {
    const token = block[cursor.at++]!;
    const literals = longLength(block, cursor, token >>> 4);
    cursor.at += literals;
    length += literals;
    if (cursor.at >= block.length) break;
    cursor.at += 2;
    length += longLength(block, cursor, token & 15) + 4;
    if (length > limit) return -1;
  }
  return length;
}

/** Decompresses `block` to `page` from `start`; matches may reach back to byte 0. Returns the end of the output. */
function decodeLinked(block: Uint8Array, page: Uint8Array, start: number): number {
  const cursor = { at: 0 };
  let to = start;
  for (;;) {
    const token = block[cursor.at++];
    if (token === undefined) throw new LitestreamError('ERR_LZ4', 'block ends without literals');
    const literals = longLength(block, cursor, token >>> 4);
    if (literals > block.length - cursor.at || literals > page.length - to) {
      throw new LitestreamError('ERR_LZ4', 'literals run past the block or the page');
    }
    page.set(block.subarray(cursor.at, cursor.at + literals), to);
    cursor.at += literals;
    to += literals;
    if (cursor.at === block.length) return to;
    const offset = (block[cursor.at] ?? 0) | ((block[cursor.at + 1] ?? 0) << 8);
    cursor.at += 2;
    const length = longLength(block, cursor, token & 15) + 4;
    if (offset === 0 || offset > to || length > page.length - to) {
      throw new LitestreamError('ERR_LZ4', 'match outside of the page');
    }
    for (let index = 0; index < length; index++, to++) page[to] = page[to - offset]!;
  }
}

/**
 * Parser of one LZ4 frame that must decompress to exactly `page.length` bytes. It asks for at most
 * `lz4Bound(page.length)` bytes at a time and stops behind the content checksum. Accepted: every version-1 descriptor
 * with a content checksum and without a dictionary; any number of blocks; block checksums; a content size.
 *
 * @param offset - of the frame in the file, for errors
 * @param prefix - put before the reference's texts
 * @throws LitestreamError `ERR_LTX_CORRUPTED`. Spec: formats 2.6.
 */
export function lz4FrameParser(page: Uint8Array, offset: number, prefix: string): Parser<void> {
  return new FrameParser(page, offset, prefix).parse();
}
