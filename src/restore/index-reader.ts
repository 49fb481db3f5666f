import {
  isSnapshot,
  LTX_HEADER_SIZE,
  PAGE_HEADER_SIZE,
  type LtxHeader,
} from '../formats/ltx/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import { lockPgno } from '../lib/page.ts';

/** A page of 64 KiB in an LZ4 frame of many small blocks stays below. */
const FRAME_SIZE_MAX = 1 << 20;

/** Three numbers of up to 8 bytes. */
const ENTRY_BYTES_MAX = 24;

const FIELDS = ['pgno', 'offset', 'size'] as const;

/** A place in some bytes. */
interface Scan {
  readonly bytes: Uint8Array;
  at: number;
}

/** The number at the place, which then is behind it; NaN if it has more than 7 bytes. */
function takeNumber(scan: Scan): number {
  const { bytes } = scan;
  let value = 0;
  for (let scale = 1; scale < 0x80 ** 7; scale *= 0x80) {
    const byte = bytes[scan.at] ?? 0;
    scan.at += 1;
    if (byte < 0x80) return value + byte * scale;
    value += (byte & 0x7f) * scale;
  }
  return NaN;
}

/** Receives the frames of a file in order. */
export type FrameSink = (pgno: number, offset: number, size: number) => void;

/**
 * Reads a page index from pieces that may end anywhere, in constant memory (a decoded index takes 12 bytes per page), and
 * checks everything that it can: page numbers ascend, lie within the commit size and spare the lock page, a snapshot is
 * complete, frames touch, and the last one ends at the end marker.
 *
 * Spec: formats 2.8, 2.16, 2.17.
 */
export class IndexReader {
  readonly #header: LtxHeader;
  readonly #base: number;
  readonly #sink: FrameSink;
  readonly #lock: number;
  readonly #complete: boolean;
  #at = 0;
  #field = 0;
  #value = 0;
  #scale = 1;
  #pgno = 0;
  #last = 0;
  #offset = LTX_HEADER_SIZE;
  #ended = false;

  /** @param base - offset of the first entry in the file */
  constructor(header: LtxHeader, base: number, sink: FrameSink) {
    this.#header = header;
    this.#base = base;
    this.#sink = sink;
    this.#lock = lockPgno(header.pageSize);
    this.#complete = isSnapshot(header);
  }

  /** @throws LitestreamError `ERR_LTX_CORRUPTED` */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      at = this.#takeEntries(bytes, at);
      const end = Math.min(at + ENTRY_BYTES_MAX, bytes.length);
      this.#takeBytes(bytes.subarray(at, end));
      at = end;
    }
  }

  /**
   * Whole entries with nothing wrong with them, as long as there are any: nearly all. Everything else is left to
   * {@link #takeBytes}, which knows what to say. Returns where that has to begin.
   */
  #takeEntries(bytes: Uint8Array, from: number): number {
    if (this.#field !== 0 || this.#scale !== 1 || this.#ended) return from;
    const { commit } = this.#header;
    const last = bytes.length - ENTRY_BYTES_MAX;
    const scan: Scan = { bytes, at: from };
    let start = from;
    for (; start <= last; start = scan.at) {
      const pgno = takeNumber(scan);
      const offset = takeNumber(scan);
      const size = takeNumber(scan);
      const next = this.#next();
      const sound = this.#complete ? pgno === next : pgno >= next && pgno !== this.#lock;
      if (!sound || pgno > commit || offset !== this.#offset) break;
      if (size <= PAGE_HEADER_SIZE || size > FRAME_SIZE_MAX) break;
      this.#sink(pgno, offset, size);
      this.#offset = offset + size;
      this.#last = pgno;
    }
    this.#at += start - from;
    return start;
  }

  #takeBytes(bytes: Uint8Array): void {
    for (const byte of bytes) {
      this.#at += 1;
      this.#value += (byte & 0x7f) * this.#scale;
      if (byte >= 0x80) {
        this.#scale *= 0x80;
        if (this.#scale > Number.MAX_SAFE_INTEGER) this.#fail('a value below 2^53', 'a larger one');
        continue;
      }
      const value = this.#value;
      this.#value = 0;
      this.#scale = 1;
      this.#take(value);
    }
  }

  /** All bytes up to the index size have been pushed. */
  end(): void {
    if (!this.#ended || this.#scale !== 1) this.#fail('a whole entry', 'the end of the index');
  }

  #take(value: number): void {
    if (this.#ended) this.#fail('the end of the index', value);
    if (this.#field === 0) {
      if (value === 0) this.#finish();
      else this.#startEntry(value);
      return;
    }
    if (this.#field === 1) {
      if (value !== this.#offset) this.#fail(this.#offset, value);
      this.#field = 2;
      return;
    }
    if (value <= PAGE_HEADER_SIZE || value > FRAME_SIZE_MAX) {
      this.#fail(`${PAGE_HEADER_SIZE + 1} to ${FRAME_SIZE_MAX}`, value);
    }
    this.#sink(this.#pgno, this.#offset, value);
    this.#offset += value;
    this.#last = this.#pgno;
    this.#field = 0;
  }

  #startEntry(pgno: number): void {
    const { commit } = this.#header;
    if (pgno > commit) {
      this.#fail(
        `at most ${commit}`,
        pgno,
        `page number ${pgno} out-of-bounds for commit size ${commit}`,
      );
    }
    if (pgno === this.#lock) this.#fail('no lock page', pgno, `lock page in file: pgno=${pgno}`);
    const next = this.#next();
    if (this.#complete ? pgno !== next : pgno < next) {
      const rule = this.#complete
        ? 'nonsequential page numbers in snapshot transaction'
        : 'out-of-order page numbers';
      this.#fail(next, pgno, `${rule}: ${this.#last},${pgno}`);
    }
    this.#pgno = pgno;
    this.#field = 1;
  }

  #next(): number {
    return this.#last + 1 === this.#lock ? this.#lock + 1 : this.#last + 1;
  }

  #finish(): void {
    this.#ended = true;
    const next = this.#next();
    if (this.#complete && next <= this.#header.commit) {
      this.#fail(
        `page ${next}`,
        'the end of the index',
        `incomplete snapshot: page ${next} is missing`,
      );
    }
    if (this.#offset + PAGE_HEADER_SIZE !== this.#base) {
      this.#fail(`frames up to byte ${this.#base - PAGE_HEADER_SIZE}`, this.#offset);
    }
  }

  #fail(
    expected: string | number,
    found: string | number,
    text = 'read page index: page index disagrees with the page frames',
  ): never {
    const field = `page index ${FIELDS[this.#field] ?? ''}`;
    const offset = this.#base + this.#at;
    throw new LitestreamError(
      'ERR_LTX_CORRUPTED',
      `${text} (${field} at byte ${offset}: expected ${expected}, found ${found})`,
      { details: { field, offset, expected, found } },
    );
  }
}
