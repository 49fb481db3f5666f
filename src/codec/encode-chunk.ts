import { lz4Bound } from '../kernels/index.ts';

/** Page bytes per chunk. Below 256 KiB threads are slower than none; above 1 MiB only memory grows. */
export const CHUNK_PAGE_BYTES: number = 1 << 20;

/** Hashed and stored in front of each page: page header and size. */
export const FRAME_HEADER = 10;

/** In a chunk's list of origins: the page is in the file, or in the chunk itself. */
export const IN_FILE = 0;
export const IN_CHUNK = 1;

/** Where things lie in a chunk's shared memory; pages come first. */
export interface ChunkLayout {
  /** Pages a chunk holds. */
  readonly pages: number;
  /** Byte offset of the page numbers, 4 bytes each. */
  readonly pgnos: number;
  /** Byte offset of the frame sizes, 4 bytes each. */
  readonly sizes: number;
  /** Byte offset of the origins, 1 byte each. */
  readonly origins: number;
  /** Byte offset of the frames. */
  readonly frames: number;
  readonly bytes: number;
}

export function chunkLayout(pageSize: number): ChunkLayout {
  const pages = CHUNK_PAGE_BYTES / pageSize;
  const pgnos = CHUNK_PAGE_BYTES;
  const sizes = pgnos + pages * 4;
  const origins = sizes + pages * 4;
  const frames = origins + pages;
  const bytes = frames + pages * (FRAME_HEADER + lz4Bound(pageSize));
  return { pages, pgnos, sizes, origins, frames, bytes };
}

/** To the thread. */
export interface EncodeRequest {
  readonly id: number;
  readonly pageSize: number;
  /** Pages in the chunk. */
  readonly count: number;
  /** Of the file that holds the pages which are not in the chunk. */
  readonly descriptor: number;
  readonly chunk: SharedArrayBuffer;
}

/** What the pool is asked for; it numbers requests itself. */
export type ChunkRequest = Omit<EncodeRequest, 'id'>;

/** From the thread. */
export interface EncodeReply {
  readonly id: number;
  /** Bytes of all frames; −1 if a page could not be read from the file. */
  readonly bytes: number;
  /** CRC register over headers, sizes and pages, seeded with 0. */
  readonly state: bigint;
}
