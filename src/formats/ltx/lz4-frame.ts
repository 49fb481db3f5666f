import {
  lz4DecodedLength,
  lz4Decompress,
  lz4DecompressLinked,
  lz4FrameParser,
  xxh32,
  type Lz4FrameContent,
  type Lz4FrameDamage,
  type Parser,
} from '../../kernels/index.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { damaged } from './damage.ts';

/** One page; one instance per frame. */
class PageContent implements Lz4FrameContent {
  produced = 0;
  readonly #page: Uint8Array;
  readonly #prefix: string;

  constructor(page: Uint8Array, prefix: string) {
    this.#page = page;
    this.#prefix = prefix;
  }

  get size(): number {
    return this.#page.length;
  }

  store(block: Uint8Array): void {
    this.#page.set(block, this.produced);
    this.produced += block.length;
  }

  decompress(block: Uint8Array): void {
    const page = this.#page;
    if (this.produced === 0 && lz4DecodedLength(block, page.length) === page.length) {
      lz4Decompress(block, page);
      this.produced = page.length;
      return;
    }
    // Blocks of one frame may refer to the output of earlier ones, which the kernel does not know.
    const end = lz4DecompressLinked(block, page, this.produced);
    if (end <= this.produced) throw new LitestreamError('ERR_LZ4', 'empty block');
    this.produced = end;
  }

  checksum(): number {
    return xxh32(this.#page);
  }

  fail(text: string, damage: Lz4FrameDamage): never {
    throw damaged(`${this.#prefix}${text}`, damage);
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
export function pageFrameParser(page: Uint8Array, offset: number, prefix: string): Parser<void> {
  return lz4FrameParser(new PageContent(page, prefix), offset);
}
