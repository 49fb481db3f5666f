import { lz4Bound } from '../../kernels/index.ts';
import type { LitestreamError } from '../../lib/errors.ts';
import { damaged } from './damage.ts';
import { decompressBlock, LtxDecoder, type LtxDecoderOptions } from './decoder.ts';
import { LtxEncoder, type LtxEncoderOptions } from './encoder.ts';
import type { LtxHeader } from './header.ts';
import { pageFrameParser } from './lz4-frame.ts';
import { decodePageHeader, PAGE_FLAG_SIZE, PAGE_HEADER_SIZE, readU32 } from './page-header.ts';
import type { LtxSummary } from './summary.ts';

/** A page with its number. */
export interface LtxPage {
  readonly pgno: number;
  readonly data: Uint8Array;
}

/** A whole file in memory. */
export interface LtxFile extends LtxSummary {
  /** In file order; each page has its own memory. */
  readonly pages: readonly LtxPage[];
}

/** Reads a whole file from memory without keeping its pages. Throws as {@link LtxDecoder}. */
export function verifyLtxFile(bytes: Uint8Array, options: LtxDecoderOptions = {}): LtxSummary {
  const decoder = new LtxDecoder(options);
  decoder.write(bytes);
  return decoder.end();
}

/** Reads a whole file from memory. Throws as {@link LtxDecoder}. */
export function decodeLtxFile(bytes: Uint8Array): LtxFile {
  const pages: LtxPage[] = [];
  const summary = verifyLtxFile(bytes, {
    onPage: (pgno, data) => {
      pages.push({ pgno, data: data.slice() });
    },
  });
  return { ...summary, pages };
}

/** Content of a file for {@link encodeLtxFile}. */
export interface LtxContent {
  readonly header: LtxHeader;
  readonly pages: Iterable<LtxPage>;
  /** Default 0. */
  readonly postApplyChecksum?: bigint;
}

/** Makes a whole file in memory. Throws as {@link LtxEncoder}. */
export function encodeLtxFile(
  content: LtxContent,
  options: LtxEncoderOptions = {},
): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const encoder = new LtxEncoder((piece) => {
    pieces.push(piece.slice());
    size += piece.length;
  }, options);
  encoder.encodeHeader(content.header);
  for (const { pgno, data } of content.pages) encoder.encodePage(pgno, data);
  encoder.close(content.postApplyChecksum);
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Runs the LZ4 frame parser over bytes in memory; returns the bytes used. */
function decodeLz4Frame(bytes: Uint8Array, page: Uint8Array, offset: number): number {
  const parser = pageFrameParser(page, offset, '');
  let at = 0;
  let step = parser.next();
  while (step.done !== true) {
    const need = step.value;
    if (bytes.length - at < need) {
      throw damaged('unexpected EOF', {
        field: 'lz4 frame',
        offset: offset + at,
        expected: `${need} bytes`,
        found: `${bytes.length - at} bytes`,
      });
    }
    step = parser.next(bytes.subarray(at, at + need));
    at += need;
  }
  return at;
}

/** Bytes of the block payload behind the page header in `frame`, its bounds checked. */
function blockPayload(frame: Uint8Array, pageSize: number): Uint8Array {
  const start = PAGE_HEADER_SIZE + 4;
  if (frame.length < start) throw frameError('buffer too small for size prefix', start, frame);
  const size = readU32(frame, PAGE_HEADER_SIZE);
  const bound = lz4Bound(pageSize);
  if (size < 1 || size > bound) {
    throw damaged('invalid payload size', {
      field: 'payload size',
      offset: PAGE_HEADER_SIZE,
      expected: `1 to ${bound}`,
      found: size,
    });
  }
  const end = start + size;
  if (frame.length < end) {
    const text = `buffer too small for data: need ${end}, have ${frame.length}`;
    throw frameError(text, end, frame);
  }
  return frame.subarray(start, end);
}

function frameError(text: string, expected: number, frame: Uint8Array): LitestreamError {
  return damaged(text, {
    field: 'page frame',
    offset: 0,
    expected: `${expected} bytes`,
    found: `${frame.length} bytes`,
  });
}

/**
 * Decodes one page from the bytes of its frame, as read through the page index. There is no checksum for a single
 * page in block form: the result is unverified.
 *
 * @param frame - exactly the bytes that the index names
 * @param pgno - the page that is wanted
 * @param page - receives the page; its length is the page size
 * @throws LitestreamError `ERR_LTX_CORRUPTED`; offsets are relative to the frame. Spec: formats 2.21.
 */
export function decodePageFrame(frame: Uint8Array, pgno: number, page: Uint8Array): void {
  if (frame.length < PAGE_HEADER_SIZE) {
    throw frameError('unexpected EOF', PAGE_HEADER_SIZE, frame);
  }
  const header = decodePageHeader(frame, 0);
  if (header?.pgno !== pgno) {
    throw damaged('page frame holds another page', {
      field: 'page number',
      offset: 0,
      expected: pgno,
      found: header?.pgno ?? 'end marker',
    });
  }
  let used: number;
  if ((header.flags & PAGE_FLAG_SIZE) === 0) {
    const payload = frame.subarray(PAGE_HEADER_SIZE);
    used = PAGE_HEADER_SIZE + decodeLz4Frame(payload, page, PAGE_HEADER_SIZE);
  } else {
    const payload = blockPayload(frame, page.length);
    decompressBlock(payload, page, PAGE_HEADER_SIZE + 4, '');
    used = PAGE_HEADER_SIZE + 4 + payload.length;
  }
  if (used !== frame.length) throw frameError('page frame is longer than its page', used, frame);
}
