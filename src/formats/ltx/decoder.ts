import { Crc64, lz4Bound, lz4Decompress, type Parser } from '../../kernels/index.ts';
import { errorMessage, LitestreamError, wrapError } from '../../lib/errors.ts';
import { EMPTY_CHECKSUM, pageChecksum, rollChecksum } from './checksum.ts';
import { damaged } from './damage.ts';
import { missingPage, orderViolation } from './encoder.ts';
import { FrameTable } from './frame-table.ts';
import {
  decodeHeader,
  isSnapshot,
  LTX_HEADER_SIZE,
  LTX_NO_CHECKSUM,
  type LtxHeader,
} from './header.ts';
import { pageFrameParser } from './lz4-frame.ts';
import {
  decodePageHeader,
  PAGE_FLAG_SIZE,
  PAGE_HEADER_SIZE,
  PAGE_SIZE_PREFIX,
  readU32,
} from './page-header.ts';
import { PageIndex } from './page-index.ts';
import type { LtxSummary } from './summary.ts';
import { TailReader } from './tail.ts';

/** Where a page was in its file. */
export interface PageFrame {
  /** Byte offset of the page header. */
  readonly offset: number;
  /** Bytes of the whole frame. */
  readonly size: number;
}

/** What an {@link LtxDecoder} calls and keeps. */
export interface LtxDecoderOptions {
  /** Called once, with a valid header. */
  readonly onHeader?: (header: LtxHeader) => void;
  /** Called for each page in file order. `data` is reused: copy what must outlive the call. */
  readonly onPage?: (pgno: number, data: Uint8Array, frame: PageFrame) => void;
  /** Puts the page index into the summary (12 bytes per page). Default false. */
  readonly keepIndex?: boolean;
}

/** What the parser waits for; names the error if the file ends here. */
interface Wait {
  text: string;
  field: string;
}

/**
 * Reads one LTX file from pieces that may end anywhere: `write` each piece, then `end`.
 *
 * Pages reach `onPage` before the file checksum is known: they are provisional until `end` has returned. Everything of
 * formats 2.17 and 2.18 is checked, also what the reference leaves open: decompressed length, page order, pages above
 * Commit, lock page, completeness of a snapshot, agreement of the index with the frames, trailer rules, nothing behind
 * the trailer. Memory: two page buffers and 8 bytes per page (20 with `keepIndex`); nothing is allocated on the word of
 * an unchecked size field.
 *
 * Errors: `ERR_LTX_HEADER` for the header, `ERR_LTX_CORRUPTED` for all else, with the reference's texts, details
 * `{ field, offset, expected, found }`. After an error every call throws that error again.
 */
export class LtxDecoder {
  readonly #options: LtxDecoderOptions;
  readonly #crc = new Crc64();
  readonly #frames = new FrameTable();
  readonly #wait: Wait = { text: 'decode header: ', field: 'header' };
  readonly #parser: Parser<void>;
  #header: LtxHeader | undefined;
  #tail: TailReader | undefined;
  #failure: LitestreamError | undefined;
  #summary: LtxSummary | undefined;
  #rolling: bigint | undefined;
  /** Collects a field that arrives in pieces. */
  #scratch = new Uint8Array(LTX_HEADER_SIZE);
  #have = 0;
  #need: number;
  /** Bytes of the file handed to the parser. */
  #offset = 0;

  constructor(options: LtxDecoderOptions = {}) {
    this.#options = options;
    this.#parser = this.#parse();
    this.#need = this.#resume(undefined);
  }

  /** The header, once its 100 bytes have arrived. */
  get header(): LtxHeader | undefined {
    return this.#header;
  }

  /** Pages decoded so far. */
  get pageCount(): number {
    return this.#frames.length;
  }

  /** Adds the next bytes of the file; `chunk` is not kept. */
  write(chunk: Uint8Array): void {
    this.#guard();
    try {
      this.#consume(chunk);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /**
   * The file ends here: performs the full close.
   *
   * @throws LitestreamError `ERR_LTX_CORRUPTED` if bytes are missing or checksums, index or trailer are wrong.
   */
  end(): LtxSummary {
    if (this.#summary !== undefined) return this.#summary;
    this.#guard();
    try {
      if (this.#tail === undefined || this.#header === undefined) throw this.#truncated();
      const trailer = this.#tail.end();
      this.#summary = {
        header: this.#header,
        trailer,
        pageCount: this.#frames.length,
        size: this.#offset + this.#tail.total,
        ...(this.#options.keepIndex === true ? { index: PageIndex.fromFrames(this.#frames) } : {}),
      };
      return this.#summary;
    } catch (error) {
      throw this.#fail(error);
    }
  }

  #guard(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#summary !== undefined) {
      throw new LitestreamError('ERR_LTX_CORRUPTED', 'ltx decoder closed');
    }
  }

  #fail(error: unknown): unknown {
    if (error instanceof LitestreamError) this.#failure = error;
    else this.#failure = wrapError('ltx decoder stopped', error);
    return error;
  }

  /** Runs the parser up to its next request. */
  #resume(piece: Uint8Array | undefined): number {
    const step = piece === undefined ? this.#parser.next() : this.#parser.next(piece);
    return step.done === true ? 0 : step.value;
  }

  #consume(chunk: Uint8Array): void {
    let at = 0;
    while (this.#tail === undefined) {
      const need = this.#need;
      const rest = chunk.length - at;
      if (this.#have === 0 && rest >= need) {
        this.#advance(chunk.subarray(at, at + need));
        at += need;
        continue;
      }
      const part = Math.min(need - this.#have, rest);
      this.#scratch.set(chunk.subarray(at, at + part), this.#have);
      this.#have += part;
      at += part;
      if (this.#have < need) return;
      this.#have = 0;
      this.#advance(this.#scratch.subarray(0, need));
    }
    this.#tail.push(chunk.subarray(at));
  }

  #advance(piece: Uint8Array): void {
    this.#offset += piece.length;
    this.#need = this.#resume(piece);
  }

  #truncated(): LitestreamError {
    const { text, field } = this.#wait;
    const whole = field === 'lz4 frame' ? 'unexpected EOF' : 'EOF';
    const between = field === 'page header' && this.#have === 0;
    const eof = this.#have === 0 ? whole : 'unexpected EOF';
    return damaged(between ? 'close reader: cannot close, expected page' : text + eof, {
      field,
      offset: this.#offset,
      expected: `${this.#need} bytes`,
      found: `${this.#have} bytes`,
    });
  }

  #expect(text: string, field: string): void {
    this.#wait.text = text;
    this.#wait.field = field;
  }

  *#parse(): Parser<void> {
    const header = this.#readHeader(yield LTX_HEADER_SIZE);
    const page = new Uint8Array(header.pageSize);
    this.#scratch = new Uint8Array(lz4Bound(header.pageSize));
    let last = 0;
    for (;;) {
      const prefix = `decode page ${this.#frames.length}: `;
      const offset = this.#offset;
      this.#expect(prefix, 'page header');
      const bytes = yield PAGE_HEADER_SIZE;
      this.#crc.update(bytes);
      const found = decodePageHeader(bytes, offset, prefix);
      if (found === undefined) break;
      const { pgno, flags } = found;
      this.#checkPage(header, last, pgno, offset);
      if ((flags & PAGE_FLAG_SIZE) === 0) {
        this.#expect(prefix, 'lz4 frame');
        yield* pageFrameParser(page, this.#offset, prefix);
      } else {
        yield* this.#block(page, prefix);
      }
      last = pgno;
      this.#accept(pgno, page, offset);
    }
    this.#startTail(header, last);
  }

  #readHeader(bytes: Uint8Array): LtxHeader {
    let header: LtxHeader;
    try {
      header = decodeHeader(bytes);
    } catch (error) {
      throw wrapError('decode header', error);
    }
    this.#crc.update(bytes);
    this.#header = header;
    if (isSnapshot(header) && (header.flags & LTX_NO_CHECKSUM) === 0) {
      this.#rolling = EMPTY_CHECKSUM;
    }
    this.#options.onHeader?.(header);
    return header;
  }

  #checkPage(header: LtxHeader, last: number, pgno: number, offset: number): void {
    const { commit } = header;
    const text =
      pgno > commit
        ? `page number ${pgno} out-of-bounds for commit size ${commit}`
        : orderViolation(header, last, pgno)?.replace(
            'cannot encode lock page',
            'lock page in file',
          );
    if (text === undefined) return;
    throw damaged(`decode page ${this.#frames.length}: ${text}`, {
      field: 'page number',
      offset,
      expected: pgno > commit ? `at most ${commit}` : `the successor of ${last}`,
      found: pgno,
    });
  }

  /** Size prefix and LZ4 block. */
  *#block(page: Uint8Array, prefix: string): Parser<void> {
    this.#expect(`${prefix}read data size: `, 'payload size');
    const sizeBytes = yield PAGE_SIZE_PREFIX;
    this.#crc.update(sizeBytes);
    const size = readU32(sizeBytes, 0);
    const bound = lz4Bound(page.length);
    if (size < 1 || size > bound) {
      throw damaged(`${prefix}read compressed data: invalid payload size`, {
        field: 'payload size',
        offset: this.#offset - PAGE_SIZE_PREFIX,
        expected: `1 to ${bound}`,
        found: size,
      });
    }
    this.#expect(`${prefix}read compressed data: `, 'payload');
    const payload = yield size;
    decompressBlock(payload, page, this.#offset - size, prefix);
  }

  #accept(pgno: number, page: Uint8Array, offset: number): void {
    const size = this.#offset - offset;
    this.#crc.update(page);
    this.#frames.push(pgno, size);
    if (this.#rolling !== undefined) {
      this.#rolling = rollChecksum(this.#rolling, pageChecksum(pgno, page));
    }
    this.#options.onPage?.(pgno, page, { offset, size });
  }

  #startTail(header: LtxHeader, last: number): void {
    const missing = missingPage(header, last);
    this.#tail = new TailReader({
      header,
      frames: this.#frames,
      crc: this.#crc,
      offset: this.#offset,
      rolling: this.#rolling,
      problem:
        missing === undefined
          ? undefined
          : damaged(`close reader: incomplete snapshot: page ${missing} is missing`, {
              field: 'end marker',
              offset: this.#offset - PAGE_HEADER_SIZE,
              expected: `pages up to ${header.commit}`,
              found: `end of pages after page ${last}`,
            }),
    });
  }
}

/**
 * Decompresses a bare LZ4 block to exactly one page.
 *
 * @param offset - of the payload in the file, for the error
 * @throws LitestreamError `ERR_LTX_CORRUPTED` with the reference's text. Spec: formats 2.5.
 */
export function decompressBlock(
  payload: Uint8Array,
  page: Uint8Array,
  offset: number,
  prefix: string,
): void {
  try {
    lz4Decompress(payload, page);
  } catch (error) {
    throw new LitestreamError(
      'ERR_LTX_CORRUPTED',
      `${prefix}decompress block: lz4: invalid source or destination buffer too short ` +
        `(payload at byte ${offset}: ${errorMessage(error)})`,
      {
        cause: error,
        details: {
          field: 'payload',
          offset,
          expected: `an LZ4 block of ${page.length} bytes`,
          found: errorMessage(error),
        },
      },
    );
  }
}
