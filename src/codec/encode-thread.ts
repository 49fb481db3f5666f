import { readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { createKernel, newEncodeJob, type EncodeJob, type Kernel } from '../kernels/index.ts';
import {
  CHUNK_PAGE_BYTES,
  chunkLayout,
  IN_CHUNK,
  IN_FILE,
  type ChunkLayout,
  type EncodeReply,
  type EncodeRequest,
} from './encode-chunk.ts';

/**
 * A thread of an `EncodePool`: reads the pages of a chunk from the database file, frames them in a kernel of its own, and puts the
 * frames into shared memory. Only numbers travel in messages.
 */

/** Pages are read and framed in windows that stay in the second-level cache. */
const WINDOW_BYTES = 256 * 1024;
/** Lists, a window, and the frames of a chunk; small pages need the most. */
const ARENA_BYTES = chunkLayout(512).bytes - CHUNK_PAGE_BYTES + WINDOW_BYTES + 64 * 1024;

let kernel: Kernel | undefined;
const job: EncodeJob = newEncodeJob();

interface Chunk {
  readonly bytes: Uint8Array;
  readonly pgnos: Uint32Array;
  readonly origins: Uint8Array;
}

function open({ chunk, count }: EncodeRequest, layout: ChunkLayout): Chunk {
  return {
    bytes: new Uint8Array(chunk),
    pgnos: new Uint32Array(chunk, layout.pgnos, count),
    origins: new Uint8Array(chunk, layout.origins, count),
  };
}

/** Adjacent pages of the file from slot `from` on. */
function runLength({ pgnos, origins }: Chunk, from: number, end: number): number {
  const first = pgnos[from] ?? 0;
  let count = 1;
  while (
    from + count < end &&
    origins[from + count] === IN_FILE &&
    pgnos[from + count] === first + count
  ) {
    count++;
  }
  return count;
}

function readRun(descriptor: number, target: Uint8Array, position: number): boolean {
  for (let done = 0; done < target.length;) {
    const found = readSync(descriptor, target, done, target.length - done, position + done);
    if (found === 0) return false;
    done += found;
  }
  return true;
}

/** Brings the pages of slots `from` … `end − 1` to `target`. False if the file does not have one. */
function fill(
  request: EncodeRequest,
  chunk: Chunk,
  { from, end, target }: { from: number; end: number; target: Uint8Array },
): boolean {
  const { descriptor, pageSize } = request;
  for (let slot = from; slot < end;) {
    const at = (slot - from) * pageSize;
    if (chunk.origins[slot] === IN_CHUNK) {
      target.set(chunk.bytes.subarray(slot * pageSize, (slot + 1) * pageSize), at);
      slot++;
      continue;
    }
    const count = runLength(chunk, slot, end);
    const position = ((chunk.pgnos[slot] ?? 0) - 1) * pageSize;
    if (!readRun(descriptor, target.subarray(at, at + count * pageSize), position)) return false;
    slot += count;
  }
  return true;
}

function encode(request: EncodeRequest): EncodeReply {
  const { count, id, pageSize } = request;
  const layout = chunkLayout(pageSize);
  kernel ??= createKernel({ arenaBytes: ARENA_BYTES, streams: 1 });
  const { base, bytes, words } = kernel;
  const chunk = open(request, layout);
  const sizes = base + layout.pages * 8;
  const pages = sizes + layout.pages * 4;
  const window = Math.min(layout.pages, WINDOW_BYTES / pageSize);
  const frames = pages + window * pageSize;
  job.list = base;
  job.pageSize = pageSize;
  job.targetEnd = kernel.limit;
  job.stream = 0;
  kernel.crcReset(0, 0n);
  let length = 0;
  for (let from = 0; from < count; from += window) {
    const end = Math.min(count, from + window);
    const target = bytes.subarray(pages, pages + (end - from) * pageSize);
    if (!fill(request, chunk, { from, end, target })) return { id, bytes: -1, state: 0n };
    for (let slot = from; slot < end; slot++) {
      words[base / 4 + (slot - from) * 2] = chunk.pgnos[slot] ?? 0;
      words[base / 4 + (slot - from) * 2 + 1] = pages + (slot - from) * pageSize;
    }
    job.count = end - from;
    job.sizes = sizes + from * 4;
    job.target = frames + length;
    kernel.encodePages(job);
    if (job.pages !== job.count) throw new Error('the frames of a chunk do not fit');
    length += job.bytes;
  }
  chunk.bytes.set(bytes.subarray(sizes, sizes + count * 4), layout.sizes);
  chunk.bytes.set(bytes.subarray(frames, frames + length), layout.frames);
  return { id, bytes: length, state: kernel.crcState(0) };
}

function answer(request: EncodeRequest): EncodeReply {
  try {
    return encode(request);
  } catch (error) {
    // Whoever asked reads the page again, and knows how to say what is wrong with it.
    if (error instanceof Error && 'syscall' in error)
      return { id: request.id, bytes: -1, state: 0n };
    throw error;
  }
}

parentPort?.on('message', (request: EncodeRequest) => {
  parentPort?.postMessage(answer(request));
});
