import {
  CHECKSUM_FLAG,
  decodeHeader,
  decodeTrailer,
  INDEX_SIZE_SIZE,
  locatePageIndex,
  LTX_HEADER_SIZE,
  LTX_TRAILER_SIZE,
  LtxDecoder,
  type LtxHeader,
  PAGE_HEADER_SIZE,
  validateTrailer,
} from '../formats/ltx/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { FileInfo } from '../storage/index.ts';
import { fileDamage, fileName, isDamage, nameFile } from './damage.ts';
import { IndexReader } from './index-reader.ts';
import type { PageKernel } from './page-kernel.ts';
import { type Run, RunCutter } from './run.ts';
import { openRange, readRange, type SourceContext } from './source.ts';

/** Files up to this size are read at once. */
export const WHOLE_FILE_BYTES: number = 256 * 1024;
const TAIL_BYTES = 64 * 1024;
const PIECE_BYTES = 1 << 20;
const CHECKSUM_BYTES = 8;

/** Everything about a planned file but its pages. */
export interface Survey {
  readonly file: FileInfo;
  readonly header: LtxHeader;
  /** In file order, without gaps. */
  readonly runs: readonly Run[];
  /** CRC register after the header. */
  readonly headState: bigint;
  /** CRC register after everything behind the frames, seeded with 0. */
  readonly tailState: bigint;
  readonly tailBytes: number;
  /** As stored in the trailer. */
  readonly checksum: bigint;
  /** The whole file, where it is small. */
  readonly bytes: Uint8Array | undefined;
}

export interface SurveyOptions {
  readonly context: SourceContext;
  readonly kernel: PageKernel;
  /** Called with a valid header before the first page. */
  readonly onHeader?: ((header: LtxHeader) => void) | undefined;
  /** Called for each page of the file. */
  readonly onPage: (pgno: number) => void;
}

/** Header and tail of a file, or all of it. */
interface Ends {
  readonly head: Uint8Array;
  /** The last bytes. */
  readonly tail: Uint8Array;
  readonly whole: Uint8Array | undefined;
}

async function readEnds(context: SourceContext, file: FileInfo): Promise<Ends> {
  if (file.size <= WHOLE_FILE_BYTES) {
    const whole = await readRange(context, file, 0, file.size);
    return { head: whole, tail: whole, whole };
  }
  const [head, tail] = await Promise.all([
    readRange(context, file, 0, LTX_HEADER_SIZE),
    readRange(context, file, file.size - TAIL_BYTES, TAIL_BYTES),
  ]);
  return { head, tail, whole: undefined };
}

/** Bytes `[start, file.size)` in pieces of bounded size, each valid until the next, from memory where they are already there. */
async function* tailPieces(
  context: SourceContext,
  file: FileInfo,
  start: number,
  tail: Uint8Array,
): AsyncGenerator<Uint8Array, void, undefined> {
  const known = file.size - tail.length;
  if (start >= known) {
    yield tail.subarray(start - known);
    return;
  }
  const reader = openRange(context, file, start, known - start);
  try {
    const buffer = new Uint8Array(Math.min(PIECE_BYTES, known - start));
    for (let at = start; at < known; at += PIECE_BYTES) {
      const piece = buffer.subarray(0, known - at);
      await reader.fill(piece);
      yield piece;
    }
  } finally {
    await reader.close();
  }
  yield tail;
}

function checkSize(file: FileInfo): void {
  if (file.size >= LTX_HEADER_SIZE) return;
  throw new LitestreamError(
    'ERR_LTX_CORRUPTED',
    `invalid ltx file: ${fileName(file)} has size ${file.size} bytes (minimum ${LTX_HEADER_SIZE})`,
    {
      details: {
        level: file.level,
        minTxid: file.minTxid,
        maxTxid: file.maxTxid,
        found: file.size,
        expected: LTX_HEADER_SIZE,
      },
    },
  );
}

function checkEndMarker(marker: Uint8Array, offset: number, file: FileInfo): void {
  if (marker.every((byte) => byte === 0)) return;
  const found = [...marker].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  throw fileDamage(file, 'cannot close, expected page', {
    field: 'end marker',
    offset,
    expected: `${PAGE_HEADER_SIZE} zero bytes`,
    found,
  });
}

/** Splits what follows the frames by position: end marker, index entries, index size, trailer. */
async function readTail(options: SurveyOptions, file: FileInfo, ends: Ends): Promise<Survey> {
  const { context, kernel, onPage } = options;
  const header = decodeHeader(ends.head);
  options.onHeader?.(header);
  const location = locatePageIndex(ends.tail, file.size);
  const start = location.offset - PAGE_HEADER_SIZE;
  const entriesEnd = location.offset + location.length - INDEX_SIZE_SIZE;
  const hashedEnd = file.size - CHECKSUM_BYTES;
  const cutter = new RunCutter(header.pageSize);
  const index = new IndexReader(header, location.offset, (pgno, offset, size) => {
    cutter.add(pgno, offset, size);
    onPage(pgno);
  });
  let at = start;
  let state = 0n;
  for await (const piece of tailPieces(context, file, start, ends.tail)) {
    const part = (from: number, to: number): Uint8Array =>
      piece.subarray(Math.max(0, from - at), Math.max(0, to - at));
    checkEndMarker(part(start, location.offset), start, file);
    index.push(part(location.offset, entriesEnd));
    state = kernel.hash(state, part(start, hashedEnd));
    at += piece.length;
  }
  index.end();
  cutter.flush();
  const trailer = decodeTrailer(ends.tail.subarray(-LTX_TRAILER_SIZE));
  validateTrailer(header, trailer, file.size - LTX_TRAILER_SIZE, 'ERR_LTX_CORRUPTED');
  return {
    file,
    header,
    runs: cutter.runs,
    headState: kernel.hash(0xffff_ffff_ffff_ffffn, ends.head.subarray(0, LTX_HEADER_SIZE)),
    tailState: state,
    tailBytes: hashedEnd - start,
    checksum: trailer.fileChecksum,
    bytes: ends.whole,
  };
}

/**
 * Reads a damaged file from front to back for the sake of the message: the first thing that is wrong, in the reference's words.
 * Returns the given error if nothing else is found.
 */
export async function diagnose(
  context: SourceContext,
  file: FileInfo,
  error: unknown,
): Promise<unknown> {
  if (!isDamage(error) || file.size < LTX_HEADER_SIZE) return error;
  const decoder = new LtxDecoder();
  const reader = openRange(context, file, 0, file.size);
  try {
    for (let at = 0; at < file.size; at += PIECE_BYTES) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, file.size - at));
      await reader.fill(piece);
      decoder.write(piece);
    }
    decoder.end();
  } catch (found) {
    return isDamage(found) ? nameFile(file, found) : error;
  } finally {
    await reader.close();
  }
  return error;
}

/**
 * Reads a planned file's header, page index and trailer, and checks all that can be checked without its pages. A large file
 * costs a request for each end and one for an index above 64 KiB, a small one a single request.
 *
 * @throws LitestreamError `ERR_LTX_CORRUPTED`, `ERR_LTX_HEADER` naming the file, or what reading it throws.
 */
export async function surveyFile(options: SurveyOptions, file: FileInfo): Promise<Survey> {
  checkSize(file);
  try {
    return await readTail(options, file, await readEnds(options.context, file));
  } catch (error) {
    throw await diagnose(options.context, file, nameFile(file, error));
  }
}

/** True if the stored checksum is that of the decoded file. */
export function isChecksum(state: bigint, checksum: bigint): boolean {
  return (CHECKSUM_FLAG | (state ^ 0xffff_ffff_ffff_ffffn)) === checksum;
}
