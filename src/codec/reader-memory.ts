import { lz4Bound } from '../kernels/index.ts';
import { windowBytes } from './input-window.ts';

export const META_BYTES = 16;
export const SUM_BYTES = 8;
/** Page header and size. */
const FRAME_HEADER = 10;
const MIN_PAGE_SIZE = 512;
/** The kernel may write so far behind a page. */
const SLACK = 64;
/** Frames of one run where only frames are wanted. */
const RUN_FRAMES = 256;

/** Enough for the largest pages. */
export const READER_WINDOW_BYTES: number = 128 * 1024;
export const READER_PAGE_BYTES: number = 128 * 1024;

/** A reader that hands over decoded pages. */
interface PageRuns {
  /** Encoded bytes held, at least one frame. */
  readonly windowBytes: number;
  /** Room for the pages of one run, at least one page. */
  readonly pageBytes: number;
}

/** A reader that hands over frames and no pages. */
export interface FrameRuns {
  /** Of the file. */
  readonly pageSize: number;
  /** Encoded bytes held; 1 or more. */
  readonly partBytes: number;
  /** Twice as many bytes are held, half of them read ahead (`ahead`, `turnOver`). */
  readonly ahead: boolean;
}

/** Where what lies in the memory of a reader, relative to its start; `meta` is at 0. */
export interface ReaderMemory {
  readonly sums: number;
  readonly window: number;
  readonly pages: number;
  /** All of it, a multiple of 64. */
  readonly bytes: number;
  readonly pageBytes: number;
  /** Most frames of a run; undefined: as many as there is room for pages. */
  readonly runFrames: number | undefined;
  /** Of the window. */
  readonly parts: { readonly partBytes: number; readonly gapBytes: number | undefined };
  /** Bytes that the window holds at least: one frame, once the page size is known. */
  readonly frameBytes: number;
}

export function readerMemory(runs: FrameRuns | PageRuns): ReaderMemory {
  const isFrames = 'partBytes' in runs;
  const pageBytes = isFrames ? runs.pageSize : runs.pageBytes;
  const metas = isFrames ? RUN_FRAMES : Math.ceil(pageBytes / MIN_PAGE_SIZE);
  const parts = isFrames ? framesParts(runs) : { partBytes: runs.windowBytes, gapBytes: undefined };
  const sums = metas * META_BYTES;
  const window = sums + (isFrames ? metas * SUM_BYTES : 0);
  const pages = window + windowBytes(parts) + SLACK;
  return {
    sums,
    window,
    pages,
    bytes: (pages + pageBytes + SLACK + 63) & ~63,
    pageBytes,
    runFrames: isFrames ? RUN_FRAMES : undefined,
    parts,
    frameBytes: parts.gapBytes ?? parts.partBytes,
  };
}

/** Bytes of the largest frame of a page. */
export function frameBound(pageSize: number): number {
  return FRAME_HEADER + lz4Bound(pageSize);
}

function framesParts({ ahead, pageSize, partBytes }: FrameRuns): ReaderMemory['parts'] {
  const gapBytes = frameBound(pageSize);
  return ahead
    ? { partBytes, gapBytes }
    : { partBytes: Math.max(gapBytes, partBytes), gapBytes: undefined };
}

/** Memory that a reader takes of its kernel, a multiple of 64. */
export function readerBytes(
  windowBytes: number = READER_WINDOW_BYTES,
  pageBytes: number = READER_PAGE_BYTES,
): number {
  return readerMemory({ windowBytes, pageBytes }).bytes;
}

/** Memory that a reader of frames takes, a multiple of 64. */
export function frameReaderBytes(frames: FrameRuns): number {
  return readerMemory(frames).bytes;
}
