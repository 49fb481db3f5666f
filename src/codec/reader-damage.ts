import {
  damaged,
  decodePageFrame,
  decodePageHeader,
  missingPage,
  orderViolation,
  PAGE_HEADER_SIZE,
  type LtxHeader,
} from '../formats/ltx/index.ts';
import { lz4Bound, type DecodeJob } from '../kernels/index.ts';
import { LitestreamError } from '../lib/errors.ts';

/**
 * What a reader says about a damaged file; the codes and texts are those of `LtxDecoder`. `offset` counts from the start of the file,
 * `prefix` names the page.
 */

const FRAME_HEADER = 10;

/** A page that must not follow the ones before it; undefined if it may. */
export function pageNumberDamage(
  header: LtxHeader,
  {
    last,
    pgno,
    offset,
    prefix,
  }: {
    readonly last: number;
    readonly pgno: number;
    readonly offset: number;
    readonly prefix: string;
  },
): LitestreamError | undefined {
  const { commit } = header;
  const text =
    pgno > commit
      ? `page number ${pgno} out-of-bounds for commit size ${commit}`
      : orderViolation(header, last, pgno);
  if (text === undefined) return undefined;
  const words = text.replace('cannot encode lock page', 'lock page in file');
  return damaged(`${prefix}${words}`, {
    field: 'page number',
    offset,
    expected: pgno > commit ? `at most ${commit}` : `the successor of ${last}`,
    found: pgno,
  });
}

/** A snapshot that ends too early; undefined if it does not. */
export function incompleteDamage(
  header: LtxHeader,
  last: number,
  offset: number,
): LitestreamError | undefined {
  const missing = missingPage(header, last);
  if (missing === undefined) return undefined;
  return damaged(`close reader: incomplete snapshot: page ${missing} is missing`, {
    field: 'end marker',
    offset,
    expected: `pages up to ${header.commit}`,
    found: `end of pages after page ${last}`,
  });
}

/** A file that ends in the middle of a field. */
export function truncationDamage(
  field: string,
  {
    need,
    found,
    offset,
    prefix,
  }: {
    readonly need: number;
    readonly found: number;
    readonly offset: number;
    readonly prefix: string;
  },
): LitestreamError {
  const between = field === 'page frame' && found === 0;
  const text = between ? 'close reader: cannot close, expected page' : `${prefix}unexpected EOF`;
  return damaged(text, {
    field: between ? 'page header' : field,
    offset: offset + found,
    expected: `${need} bytes`,
    found: `${found} bytes`,
  });
}

/** The frame at which a kernel stopped: `bytes` begins with it. */
export function frameDamage(
  header: LtxHeader,
  {
    bytes,
    job,
    offset,
    prefix,
  }: {
    readonly bytes: Uint8Array<ArrayBuffer>;
    readonly job: DecodeJob;
    readonly offset: number;
    readonly prefix: string;
  },
): LitestreamError {
  if (job.status === 'bad-size') {
    return damaged(`${prefix}read compressed data: invalid payload size`, {
      field: 'payload size',
      offset: offset + PAGE_HEADER_SIZE,
      expected: `1 to ${lz4Bound(header.pageSize)}`,
      found: new DataView(bytes.buffer, bytes.byteOffset).getUint32(PAGE_HEADER_SIZE),
    });
  }
  try {
    const pgno = decodePageHeader(bytes, offset, prefix)?.pgno ?? 0;
    const frame = bytes.subarray(0, job.needed);
    decodePageFrame(frame, pgno, new Uint8Array(header.pageSize));
  } catch (error) {
    if (!(error instanceof LitestreamError)) throw error;
    if (job.status === 'bad-header') return error;
    // Offsets in that error count from the frame.
    const details = { ...error.details, offset: offset + FRAME_HEADER };
    const text = `${prefix}${error.message} in the frame at byte ${offset}`;
    return new LitestreamError('ERR_LTX_CORRUPTED', text, { cause: error, details });
  }
  return new LitestreamError('ERR_ASSERTION', `a kernel refused the valid frame at ${offset}`);
}
