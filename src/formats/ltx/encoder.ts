import { Crc64, encodeLz4Frame, lz4Bound, lz4Compress } from '../../kernels/index.ts';
import { lockPgno } from '../../lib/page.ts';
import { present } from '../../lib/assert.ts';
import { LitestreamError, type LitestreamErrorInit } from '../../lib/errors.ts';
import { EMPTY_CHECKSUM } from './checksum.ts';
import { CHECKSUM_FLAG, encodeHeader, isSnapshot, type LtxHeader } from './header.ts';
import { FrameTable } from './frame-table.ts';
import {
  PAGE_FLAG_SIZE,
  PAGE_HEADER_SIZE,
  PAGE_SIZE_PREFIX,
  putPageHeader,
} from './page-header.ts';
import { PageIndex, writePageIndex } from './page-index.ts';
import type { LtxSummary } from './summary.ts';
import { encodeTrailer, validateTrailer } from './trailer.ts';

/** Choices of an {@link LtxEncoder}. */
export interface LtxEncoderOptions {
  /**
   * `block` (default) is what current Litestream writes; `frame` is what v0.5.0 – v0.5.15 wrote and read.
   */
  readonly payload?: 'block' | 'frame';
  /** Block compressor: fills `target`, returns the length. Default: the kernel's. */
  readonly compress?: (source: Uint8Array, target: Uint8Array) => number;
  /** Puts the page index into the summary. Default false. */
  readonly keepIndex?: boolean;
}

function failed(text: string, details?: LitestreamErrorInit['details']): LitestreamError {
  return new LitestreamError('ERR_LTX_ENCODE', text, details === undefined ? {} : { details });
}

/**
 * Writes one LTX file page by page: `encodeHeader`, `encodePage` for each page in ascending order, `close`.
 *
 * The sink gets the bytes in order; a piece is valid during the call only. After an error of the sink the encoder is of
 * no use. Beyond the reference, `close` rejects a snapshot that did not reach its last page. Spec: formats 2.16.
 */
export class LtxEncoder {
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #options: LtxEncoderOptions;
  readonly #crc = new Crc64();
  readonly #frames = new FrameTable();
  #state: 'header' | 'page' | 'closed' = 'header';
  #header: LtxHeader | undefined;
  #summary: LtxSummary | undefined;
  #buffer = new Uint8Array(0);
  #last = 0;
  #size = 0;

  constructor(sink: (bytes: Uint8Array) => void, options: LtxEncoderOptions = {}) {
    this.#sink = sink;
    this.#options = options;
  }

  /**
   * Writes the header; must come first.
   *
   * @throws LitestreamError `ERR_LTX_HEADER` for a broken rule of formats 2.3, `ERR_LTX_ENCODE` in another state.
   */
  encodeHeader(header: LtxHeader): void {
    if (this.#state === 'closed') throw failed('ltx encoder closed');
    if (this.#state === 'page') throw failed('cannot encode header frame, expected page');
    const bytes = encodeHeader(header);
    this.#header = header;
    this.#buffer = new Uint8Array(PAGE_HEADER_SIZE + PAGE_SIZE_PREFIX + lz4Bound(header.pageSize));
    this.#crc.update(bytes);
    this.#write(bytes);
    this.#state = 'page';
  }

  /**
   * Writes one page.
   *
   * @param pgno - above all before; in a snapshot every page from 1 on, the lock page left out
   * @param data - exactly one page
   * @throws LitestreamError `ERR_LTX_ENCODE` with the reference's texts. Spec: formats 2.16.
   */
  encodePage(pgno: number, data: Uint8Array): void {
    if (this.#state === 'closed') throw failed('ltx encoder closed');
    if (this.#state === 'header') throw failed('cannot encode page header, expected header');
    const header = present(this.#header, 'header of the encoder');
    this.#checkPage(header, pgno, data);
    const size =
      this.#options.payload === 'frame' ? this.#frame(pgno, data) : this.#block(pgno, data);
    this.#crc.update(data);
    this.#frames.push(pgno, size);
    this.#last = pgno;
    this.#write(this.#buffer.subarray(0, size));
  }

  /**
   * Writes end marker, index and trailer. A second call returns the same summary.
   *
   * @param postApplyChecksum - rolling database checksum after this file; 0 with `LTX_NO_CHECKSUM`
   * @throws LitestreamError `ERR_LTX_ENCODE` with the reference's texts, or for an incomplete snapshot. Then nothing of
   *   what was written is a valid file.
   */
  close(postApplyChecksum = 0n): LtxSummary {
    if (this.#summary !== undefined) return this.#summary;
    if (this.#state === 'closed') throw failed('ltx encoder closed');
    if (this.#state === 'header') throw failed('cannot close, expected header');
    const header = present(this.#header, 'header of the encoder');
    this.#checkComplete(header);
    this.#state = 'closed';
    const hashed = (bytes: Uint8Array): void => {
      this.#crc.update(bytes);
      this.#write(bytes);
    };
    hashed(new Uint8Array(PAGE_HEADER_SIZE));
    writePageIndex(this.#frames, hashed);
    const trailer = encodeTrailer({ postApplyChecksum, fileChecksum: 0n });
    const fileChecksum = CHECKSUM_FLAG | this.#crc.update(trailer.subarray(0, 8)).digest();
    validateTrailer(header, { postApplyChecksum, fileChecksum }, this.#size, 'ERR_LTX_ENCODE');
    // As in the reference: a file without pages cannot be written without database checksums.
    if (header.commit === 0 && postApplyChecksum !== EMPTY_CHECKSUM) {
      throw failed('post-apply checksum must be empty for zero-length database');
    }
    this.#write(encodeTrailer({ postApplyChecksum, fileChecksum }));
    this.#summary = {
      header,
      trailer: { postApplyChecksum, fileChecksum },
      pageCount: this.#frames.length,
      size: this.#size,
      ...(this.#options.keepIndex === true ? { index: PageIndex.fromFrames(this.#frames) } : {}),
    };
    return this.#summary;
  }

  #write(bytes: Uint8Array): void {
    this.#size += bytes.length;
    this.#sink(bytes);
  }

  #checkPage(header: LtxHeader, pgno: number, data: Uint8Array): void {
    const { commit, pageSize } = header;
    if (!Number.isInteger(pgno) || pgno < 0) throw failed(`invalid page number: ${pgno}`);
    const details = { field: 'page number', offset: this.#size, found: pgno };
    if (pgno > commit) {
      throw failed(`page number ${pgno} out-of-bounds for commit size ${commit}`, details);
    }
    if (pgno === 0) throw failed('page number required', details);
    if (data.length !== pageSize) {
      throw failed(`invalid page buffer size: ${data.length}, expecting ${pageSize}`, details);
    }
    const text = orderViolation(header, this.#last, pgno);
    if (text !== undefined) throw failed(text, details);
  }

  /** Not in the reference, which fails only when such a snapshot is restored. */
  #checkComplete(header: LtxHeader): void {
    const expected = missingPage(header, this.#last);
    if (expected === undefined) return;
    throw failed(`incomplete snapshot: page ${expected} is missing, commit size ${header.commit}`, {
      field: 'page number',
      offset: this.#size,
      expected,
      found: 'end of pages',
    });
  }

  /** Frame with a bare LZ4 block in the buffer; returns its size. */
  #block(pgno: number, data: Uint8Array): number {
    const buffer = this.#buffer;
    const start = PAGE_HEADER_SIZE + PAGE_SIZE_PREFIX;
    const compress = this.#options.compress ?? lz4Compress;
    const length = compress(data, buffer.subarray(start));
    putPageHeader(buffer, 0, pgno, PAGE_FLAG_SIZE);
    new DataView(buffer.buffer).setUint32(PAGE_HEADER_SIZE, length);
    this.#crc.update(buffer.subarray(0, start));
    return start + length;
  }

  /** Frame with an LZ4 frame in the buffer; returns its size. */
  #frame(pgno: number, data: Uint8Array): number {
    const frame = encodeLz4Frame(data);
    const size = PAGE_HEADER_SIZE + frame.length;
    if (size > this.#buffer.length) this.#buffer = new Uint8Array(size);
    putPageHeader(this.#buffer, 0, pgno, 0);
    this.#buffer.set(frame, PAGE_HEADER_SIZE);
    this.#crc.update(this.#buffer.subarray(0, PAGE_HEADER_SIZE));
    return size;
  }
}

/**
 * Why page `pgno` may not follow page `last` (0 = none yet), in the reference's words, or undefined. Spec: formats 2.16.
 */
export function orderViolation(header: LtxHeader, last: number, pgno: number): string | undefined {
  const lock = lockPgno(header.pageSize);
  if (pgno === lock) return `cannot encode lock page: pgno=${pgno}`;
  if (!isSnapshot(header)) {
    return last >= pgno ? `out-of-order page numbers: ${last},${pgno}` : undefined;
  }
  if (last === 0) {
    return pgno === 1 ? undefined : 'snapshot transaction file must start with page number 1';
  }
  const text = 'nonsequential page numbers in snapshot transaction';
  if (last === lock - 1) {
    return pgno === lock + 1 ? undefined : `${text} (skip lock page): ${last},${pgno}`;
  }
  return pgno === last + 1 ? undefined : `${text}: ${last},${pgno}`;
}

/** The first page that a snapshot lacks if `last` is its last one; undefined if it is complete or no snapshot. */
export function missingPage(header: LtxHeader, last: number): number | undefined {
  if (!isSnapshot(header)) return undefined;
  const lock = lockPgno(header.pageSize);
  const next = last + 1 === lock ? lock + 1 : last + 1;
  return next <= header.commit ? next : undefined;
}
