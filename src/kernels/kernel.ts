import { assert } from '../lib/assert.ts';
import { SLACK, STREAM_BYTES, STREAMS } from './layout.ts';
import type { ChecksumPair } from './wal-checksum.ts';

/** Which implementation runs. All three give the same results; only compressed bytes may differ. */
export type KernelKind = 'wasm-simd' | 'wasm' | 'typescript';

/**
 * Why {@link Kernel.decodeFrames} stopped:
 * - `full`: `capacity` frames were decoded;
 * - `incomplete`: the next frame needs {@link DecodeJob.needed} bytes and fewer are left;
 * - `end`: the end marker was consumed;
 * - `legacy`: the next frame has flags 0, its payload is an LZ4 frame (formats 2.6); the caller decodes it;
 * - `bad-header`: unknown flag bits, or page number 0 with flags;
 * - `bad-size`: a payload size of 0 or above the bound for this page size;
 * - `bad-block`: the payload is no LZ4 block of exactly one page.
 */
export type DecodeStatus =
  'full' | 'incomplete' | 'end' | 'legacy' | 'bad-header' | 'bad-size' | 'bad-block';

/**
 * A batch of pages to frame. The object is reused: the kernel reads the first part and writes the second. All addresses
 * are byte offsets in {@link Kernel.bytes}; `list` and `sizes` are multiples of 4.
 */
export interface EncodeJob {
  /** Address of `count` pairs of words in host order: page number, address of the page. */
  list: number;
  count: number;
  pageSize: number;
  /** Frames go to `target … targetEnd`. A page is started only if its worst case (10 + bound) fits. */
  target: number;
  targetEnd: number;
  /** Address of `count` words that receive the size of each frame, its 10 header bytes included. */
  sizes: number;
  /** CRC stream that is fed header, size and page of each frame, or −1. */
  stream: number;

  /** Result: pages framed; fewer than `count` if the target is full. */
  pages: number;
  /** Result: bytes written at `target`. */
  bytes: number;
}

/** A run of frames to decode. Reused like {@link EncodeJob}. */
export interface DecodeJob {
  /** Encoded frames at `source … sourceEnd`; the first byte is the first of a page header. */
  source: number;
  sourceEnd: number;
  pageSize: number;
  /** Page i of the run goes to `target + i·stride`. */
  target: number;
  /** The page size, or 0 to decode every page into the same slot (when only checksums are wanted). */
  stride: number;
  /** Most frames to decode. */
  capacity: number;
  /** Address (a multiple of 4) of `capacity` groups of four words: page number, offset of the frame from `source`, size of
   * the whole frame, address of the page. */
  meta: number;
  /** CRC stream that is fed headers, sizes and pages of the decoded frames and the end marker, or −1. */
  stream: number;
  /** Address (a multiple of 8) of `capacity` 64-bit words that receive the register, seeded with 0, of each frame's header,
   * size and page, for {@link Kernel.crcAppend}; or −1. A stream takes a third more time with it. */
  sums: number;

  /** Result: frames decoded. */
  frames: number;
  /** Result: bytes of whole frames (and the end marker) consumed. The failing frame of a `bad-` status starts there. */
  consumed: number;
  /** Result: size of the next frame as far as it is known, at least 6; valid with `incomplete`. */
  needed: number;
  status: DecodeStatus;
}

/**
 * One memory and the functions that work in it.
 *
 * Ownership: `bytes[base … limit)` belongs to whoever created the kernel; nothing else writes there between calls. Memory
 * never grows, so the views stay valid for the kernel's life. The functions copy in whole words: they may *write* up to
 * 64 bytes past the end of any target (frames, pages), never before it, so nothing of value may follow a target directly,
 * and pages are decoded in ascending order. A kernel is synchronous and not reentrant.
 *
 * Spec: performance 15.
 */
export interface Kernel {
  readonly kind: KernelKind;
  /** The whole memory. File reads and writes may go straight into and out of it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** The same memory as words in host order, for lists and WAL checksums. */
  readonly words: Int32Array<ArrayBuffer>;
  /** First byte that callers may use; a multiple of 64. */
  readonly base: number;
  /** First byte that callers may not use. */
  readonly limit: number;
  /** CRC streams are numbered 0 … streams − 1. */
  readonly streams: number;

  /** Starts a stream over. `seed` is the raw register: all ones (the default) for a whole input, 0 for a part to combine. */
  crcReset(stream: number, seed?: bigint): void;
  crcUpdate(stream: number, offset: number, length: number): void;
  /** CRC-64/GO-ISO of everything fed so far. The stream goes on unchanged. */
  crcValue(stream: number): bigint;
  /** The raw register, for {@link crcCombine}. The stream goes on unchanged. */
  crcState(stream: number): bigint;
  /**
   * Adds `length` bytes to a stream, of which only the raw register is known, seeded with 0: the word at `register`. Fast as
   * long as the length stays the same.
   */
  crcAppend(stream: number, register: number, length: number): void;
  /** As `crc64Combine`: finished values, or raw registers with the second one seeded by 0. */
  crcCombine(a: bigint, b: bigint, lengthB: number): bigint;
  /** SQLite's WAL checksum over `length` bytes (a multiple of 8) at `offset` (a multiple of 4). */
  walChecksum(offset: number, length: number, bigEndian: boolean, pair: ChecksumPair): void;

  /** Compresses `size` ≤ 65536 bytes at `source` into one block at `target`, which has room for the bound; returns its size. */
  lz4Compress(source: number, size: number, target: number): number;
  /** False if the block is malformed or does not give exactly `targetSize` bytes. */
  lz4Decompress(source: number, sourceSize: number, target: number, targetSize: number): boolean;

  encodePages(job: EncodeJob): void;
  decodeFrames(job: DecodeJob): void;
  /**
   * Page checksums (formats 2.12, flag bit set) of `count` (page number, address) pairs at `list`, as 64-bit little-endian
   * words at `target`. Resets stream 0.
   */
  checksumPages(list: number, count: number, pageSize: number, target: number): void;
}

/** Size of a new kernel's memory. */
export interface KernelOptions {
  /** Whole memory in bytes, at least 128 KiB; rounded up to 64 KiB. */
  readonly arenaBytes: number;
  /** Number of CRC streams, 4 without it. Each takes about 2 KiB below `base`. */
  readonly streams?: number;
}

export function newEncodeJob(): EncodeJob {
  return {
    list: 0,
    count: 0,
    pageSize: 0,
    target: 0,
    targetEnd: 0,
    sizes: 0,
    stream: -1,
    pages: 0,
    bytes: 0,
  };
}

export function newDecodeJob(): DecodeJob {
  return {
    source: 0,
    sourceEnd: 0,
    pageSize: 0,
    target: 0,
    stride: 0,
    capacity: 0,
    meta: 0,
    stream: -1,
    sums: -1,
    frames: 0,
    consumed: 0,
    needed: 0,
    status: 'full',
  };
}

/** Sizes that follow from the options, the same for every implementation. */
export function kernelLayout(options: KernelOptions): {
  bytes: number;
  base: number;
  limit: number;
  streams: number;
} {
  const bytes = Math.ceil(options.arenaBytes / 65536) * 65536;
  const streams = options.streams ?? 4;
  const base = Math.ceil((STREAMS + streams * STREAM_BYTES) / 64) * 64;
  const limit = bytes - SLACK;
  assert(base < limit, 'the kernel memory holds its own tables');
  return { bytes, base, limit, streams };
}

/** Stops a job that would reach outside the caller's memory; checked per batch, not per page. */
export function checkRange(kernel: Kernel, start: number, length: number): void {
  assert(
    start >= kernel.base && length >= 0 && start + length <= kernel.limit,
    'kernel addresses lie in the caller’s memory',
  );
}

export function checkEncodeJob(kernel: Kernel, job: EncodeJob): void {
  checkRange(kernel, job.list, job.count * 8);
  checkRange(kernel, job.sizes, job.count * 4);
  checkRange(kernel, job.target, job.targetEnd - job.target);
  assert(((job.list | job.sizes) & 3) === 0, 'kernel lists are word-aligned');
}

export function checkDecodeJob(kernel: Kernel, job: DecodeJob): void {
  checkRange(kernel, job.source, job.sourceEnd - job.source);
  checkRange(kernel, job.meta, job.capacity * 16);
  checkRange(kernel, job.target, Math.max(0, job.capacity - 1) * job.stride + job.pageSize);
  assert((job.meta & 3) === 0, 'kernel lists are word-aligned');
  if (job.sums < 0) return;
  checkRange(kernel, job.sums, job.capacity * 8);
  assert((job.sums & 7) === 0, 'kernel registers are aligned');
}
