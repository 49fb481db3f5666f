import { lz4Bound } from '../../kernels/index.ts';
import { MAX_PAGE_SIZE } from '../../lib/page.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { damaged } from './damage.ts';
import type { FrameList } from './frame-table.ts';
import { LTX_HEADER_SIZE, LTX_TRAILER_SIZE } from './header.ts';
import { PAGE_HEADER_SIZE, PAGE_SIZE_PREFIX } from './page-header.ts';
import {
  putUvarint,
  readUvarint,
  UVARINT_MAX,
  UvarintReader,
  uvarintLength,
  type Cursor,
} from './varint.ts';

/** Bytes of the index size behind the entries. */
export const INDEX_SIZE_SIZE = 8;
const PIECE = 64 * 1024;
/** Header, end marker: where the index of a file without pages begins. */
const FIRST_INDEX = LTX_HEADER_SIZE + PAGE_HEADER_SIZE;
/** No frame is larger: a page of 64 KiB in an LZ4 frame of many small blocks stays below. */
const MAX_FRAME_SIZE = 16 * (PAGE_SIZE_PREFIX + PAGE_HEADER_SIZE + lz4Bound(MAX_PAGE_SIZE));

/**
 * The page index of a file in typed arrays: 12 bytes per page, no limit but memory on the number of pages.
 *
 * Spec: formats 2.8.
 */
export class PageIndex implements FrameList {
  /** Ascending. */
  readonly pgnos: Uint32Array;
  /** Offset of each frame in the file and, one behind the last, of the end marker. `pgnos.length + 1` values. */
  readonly offsets: Float64Array;

  constructor(pgnos: Uint32Array, offsets: Float64Array) {
    this.pgnos = pgnos;
    this.offsets = offsets;
  }

  /** The index of frames that follow the header without gaps. */
  static fromFrames(frames: FrameList): PageIndex {
    const count = frames.length;
    const pgnos = new Uint32Array(count);
    const offsets = new Float64Array(count + 1);
    let offset = LTX_HEADER_SIZE;
    for (let at = 0; at < count; at++) {
      pgnos[at] = frames.pgnoAt(at);
      offsets[at] = offset;
      offset += frames.sizeAt(at);
    }
    offsets[count] = offset;
    return new PageIndex(pgnos, offsets);
  }

  get length(): number {
    return this.pgnos.length;
  }

  pgnoAt(position: number): number {
    return this.pgnos[position]!;
  }

  offsetAt(position: number): number {
    return this.offsets[position]!;
  }

  sizeAt(position: number): number {
    return this.offsets[position + 1]! - this.offsets[position]!;
  }

  /** Position of page `pgno`, or −1 if the file does not hold it. */
  find(pgno: number): number {
    let low = 0;
    let high = this.pgnos.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.pgnos[middle]!;
      if (found === pgno) return middle;
      if (found < pgno) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }
}

/**
 * Writes the encoded index to `emit` in pieces of at most 64 KiB: entries, terminator, index size. A piece is valid
 * during the call only. Spec: formats 2.8.
 *
 * @returns bytes written
 */
export function writePageIndex(frames: FrameList, emit: (piece: Uint8Array) => void): number {
  const piece = new Uint8Array(PIECE);
  let at = 0;
  let flushed = 0;
  let offset = LTX_HEADER_SIZE;
  for (let position = 0; position < frames.length; position++) {
    if (at + 3 * UVARINT_MAX > PIECE) {
      emit(piece.subarray(0, at));
      flushed += at;
      at = 0;
    }
    const size = frames.sizeAt(position);
    at = putUvarint(piece, at, frames.pgnoAt(position));
    at = putUvarint(piece, at, offset);
    at = putUvarint(piece, at, size);
    offset += size;
  }
  piece[at++] = 0;
  emit(piece.subarray(0, at));
  flushed += at;
  const size = new DataView(new ArrayBuffer(INDEX_SIZE_SIZE));
  size.setBigUint64(0, BigInt(flushed));
  emit(new Uint8Array(size.buffer));
  return flushed + INDEX_SIZE_SIZE;
}

/** Bytes of the encoded index, terminator and index size included. */
export function pageIndexLength(frames: FrameList): number {
  let length = 1 + INDEX_SIZE_SIZE;
  let offset = LTX_HEADER_SIZE;
  for (let position = 0; position < frames.length; position++) {
    const size = frames.sizeAt(position);
    length += uvarintLength(frames.pgnoAt(position)) + uvarintLength(offset) + uvarintLength(size);
    offset += size;
  }
  return length;
}

/** {@link writePageIndex} into one array. */
export function encodePageIndex(frames: FrameList): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pageIndexLength(frames));
  let at = 0;
  writePageIndex(frames, (piece) => {
    bytes.set(piece, at);
    at += piece.length;
  });
  return bytes;
}

/** Where a page index lies in its file. */
export interface IndexLocation {
  /** Byte offset of the first entry. */
  readonly offset: number;
  /** Bytes up to the trailer: entries, terminator and index size. */
  readonly length: number;
}

/**
 * Finds the page index from the last bytes of a file (at least 24; 32 KiB is a good guess). If `offset` lies before
 * the tail, fetch `[offset, offset + length)`, else take it from the tail. Spec: formats 2.21.
 *
 * @throws LitestreamError `ERR_LTX_CORRUPTED` if tail or file are too short or the index size does not fit in the file.
 */
export function locatePageIndex(tail: Uint8Array, fileSize: number): IndexLocation {
  const behind = INDEX_SIZE_SIZE + LTX_TRAILER_SIZE;
  if (tail.length < behind || fileSize < FIRST_INDEX + 1 + behind) {
    const found = Math.min(tail.length, fileSize);
    throw damaged(`ltx file too short to contain a page index: ${found} bytes`, {
      field: 'page index',
      offset: Math.max(0, fileSize - tail.length),
      expected: `at least ${FIRST_INDEX + 1 + behind} bytes`,
      found: `${found} bytes`,
    });
  }
  const view = new DataView(tail.buffer, tail.byteOffset + tail.length - behind, INDEX_SIZE_SIZE);
  const size = view.getBigUint64(0);
  const largest = fileSize - behind - FIRST_INDEX;
  if (size < 1n || size > BigInt(largest)) {
    throw damaged('read page index: invalid page index size', {
      field: 'index size',
      offset: fileSize - behind,
      expected: `1 to ${largest}`,
      found: String(size),
    });
  }
  const length = Number(size) + INDEX_SIZE_SIZE;
  return { offset: fileSize - LTX_TRAILER_SIZE - length, length };
}

const FIELDS = ['pgno', 'offset', 'size'] as const;

/** Entries of an index: every value ends in one byte below 0x80. */
function countEntries(bytes: Uint8Array): number {
  let ends = 0;
  // An index has up to hundreds of megabytes: `for … of` takes ten times as long.
  for (let at = 0; at < bytes.length; at++) ends += 1 - (bytes[at]! >>> 7);
  return Math.floor(Math.max(0, ends - 1) / FIELDS.length);
}

/** Reads one index strictly; see {@link decodePageIndex}. */
class IndexParser {
  readonly #bytes: Uint8Array;
  readonly #base: number;
  readonly #cursor: Cursor = { at: 0 };

  constructor(bytes: Uint8Array, base: number) {
    this.#bytes = bytes;
    this.#base = base;
  }

  parse(): PageIndex {
    const count = countEntries(this.#bytes);
    const pgnos = new Uint32Array(count);
    const offsets = new Float64Array(count + 1);
    let expected = LTX_HEADER_SIZE;
    let last = 0;
    for (let position = 0; position < count; position++) {
      const pgno = this.#next('pgno');
      if (pgno <= last || pgno > 0xffff_ffff) this.#fail('pgno', `above ${last}`, pgno);
      const offset = this.#next('offset');
      if (offset !== expected) this.#fail('offset', expected, offset);
      const size = this.#next('size');
      if (size <= PAGE_HEADER_SIZE || size > MAX_FRAME_SIZE) {
        this.#fail('size', `${PAGE_HEADER_SIZE + 1} to ${MAX_FRAME_SIZE}`, size);
      }
      pgnos[position] = pgno;
      offsets[position] = offset;
      expected = offset + size;
      last = pgno;
    }
    offsets[count] = expected;
    const end = this.#next('pgno');
    if (end !== 0) this.#fail('pgno', 'the terminator 0', end);
    if (this.#cursor.at !== this.#bytes.length) {
      this.#fail(
        'terminator',
        `at byte ${this.#base + this.#bytes.length - 1}`,
        this.#cursor.at - 1,
      );
    }
    if (expected + PAGE_HEADER_SIZE !== this.#base) {
      this.#fail('size', `frames up to byte ${this.#base - PAGE_HEADER_SIZE}`, expected);
    }
    return new PageIndex(pgnos, offsets);
  }

  #next(field: (typeof FIELDS)[number]): number {
    const value = readUvarint(this.#bytes, this.#cursor);
    return value >= 0 ? value : this.#explain(field);
  }

  /** Why there is no value at the cursor. */
  #explain(field: string): never {
    const reader = new UvarintReader();
    const start = this.#cursor.at;
    for (let at = start; at < this.#bytes.length; at++) {
      if (reader.push(this.#bytes[at]!)) {
        this.#fail(field, 'a value below 2^53 in shortest form', 'another');
      }
    }
    const empty = start === this.#bytes.length;
    return this.#fail(field, 'a whole value', empty ? 'EOF' : 'unexpected EOF');
  }

  #fail(field: string, expected: string | number, found: string | number): never {
    const text = typeof found === 'string' ? found : 'page index disagrees with the page frames';
    throw damaged(`read page index: read page index ${field}: ${text}`, {
      field: `page index ${field}`,
      offset: this.#base + this.#cursor.at,
      expected,
      found,
    });
  }
}

/**
 * Reads an encoded index: entries, terminator and index size, nothing else. Accepts only what a writer can produce:
 * page numbers ascend, frames touch, the first lies behind the header and the last ends before the end marker.
 *
 * @param bytes - as found by {@link locatePageIndex}
 * @param offset - of `bytes` in the file
 * @throws LitestreamError `ERR_LTX_CORRUPTED`. Spec: formats 2.8, 2.21.
 */
export function decodePageIndex(bytes: Uint8Array, offset: number): PageIndex {
  const size = bytes.length - INDEX_SIZE_SIZE;
  if (size < 1) {
    throw damaged('read page index: read page index size: unexpected EOF', {
      field: 'page index',
      offset,
      expected: `at least ${1 + INDEX_SIZE_SIZE} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const found = new DataView(bytes.buffer, bytes.byteOffset + size).getBigUint64(0);
  if (found !== BigInt(size)) {
    throw damaged('read page index: invalid page index size', {
      field: 'index size',
      offset: offset + size,
      expected: size,
      found: String(found),
    });
  }
  if (!Number.isSafeInteger(offset) || offset < FIRST_INDEX) {
    throw new LitestreamError('ERR_LTX_CORRUPTED', `invalid page index offset: ${offset}`);
  }
  return new IndexParser(bytes.subarray(0, size), offset).parse();
}
