import { decodePageFrame, PAGE_HEADER_SIZE } from '../formats/ltx/index.ts';
import {
  type DecodeJob,
  type DecodeStatus,
  giveKernel,
  type Kernel,
  newDecodeJob,
  takeKernel,
} from '../kernels/index.ts';
import { LitestreamError } from '../lib/errors.ts';

/** Most bytes of pages in one run. */
export const RUN_PAGE_BYTES: number = 1 << 20;
/** Most bytes of frames in one run: what incompressible pages of the smallest size take, and some for odd LZ4 frames. */
export const RUN_FRAME_BYTES: number = RUN_PAGE_BYTES + (1 << 18);

const META_BYTES = 16;
const SMALLEST_PAGE = 512;
/** Where pages begin: direct writes want it. */
const PAGE_ALIGNMENT = 4096;
/** Kernels may write this much behind a page. */
const SLACK = 64;
const KERNEL_TABLES = 128 * 1024;
const LZ4_FRAME_MAGIC = 0x184d2204;

/** Fingerprint of a run's page numbers and frame sizes, to compare an index with frames without keeping either. */
export function foldFrame(fold: number, pgno: number, size: number): number {
  const mixed = Math.imul(fold ^ pgno, 0x9e37_79b1) ^ size;
  return (Math.imul(mixed, 0x85eb_ca6b) ^ (mixed >>> 15)) | 0;
}

/** What a decoded run was. */
export interface DecodedRun {
  readonly pages: number;
  /** CRC register after the run, seeded with 0. */
  readonly state: bigint;
  /** Bytes that were fed to the CRC. */
  readonly hashed: number;
  /** {@link foldFrame} over all frames. */
  readonly fold: number;
}

const STATUS_TEXTS: Readonly<Partial<Record<DecodeStatus, string>>> = {
  incomplete: 'unexpected EOF',
  end: 'cannot close, expected page',
  'bad-header': 'invalid page header flags',
  'bad-size': 'read compressed data: invalid payload size',
  'bad-block': 'decompress block: lz4: invalid source or destination buffer too short',
};

/** Bytes of the LZ4 frame at the start of `bytes`, which is validated by decoding it afterwards. Spec: formats 2.6. */
function lz4FrameLength(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 7 || view.getUint32(0, true) !== LZ4_FRAME_MAGIC) return bytes.length;
  const flags = view.getUint8(4);
  const blockTrailer = (flags & 0x10) === 0 ? 0 : 4;
  let at = (flags & 0x08) === 0 ? 7 : 15;
  while (at + 4 <= bytes.length) {
    const size = view.getUint32(at, true) & 0x7fff_ffff;
    if (size === 0) return Math.min(at + 8, bytes.length);
    at += 4 + size + blockTrailer;
  }
  return bytes.length;
}

/** Memory and functions to decode one run of frames at a time. */
export class PageKernel {
  readonly #kernel: Kernel;
  readonly #job: DecodeJob = newDecodeJob();
  readonly #input: number;
  readonly #meta: number;
  readonly #output: number;
  #pageSize = 0;

  constructor() {
    const metaBytes = (RUN_PAGE_BYTES / SMALLEST_PAGE) * META_BYTES;
    const arenaBytes =
      KERNEL_TABLES + RUN_FRAME_BYTES + metaBytes + PAGE_ALIGNMENT + RUN_PAGE_BYTES + SLACK;
    this.#kernel = takeKernel(arenaBytes);
    this.#input = this.#kernel.base;
    this.#meta = this.#input + RUN_FRAME_BYTES;
    this.#output = Math.ceil((this.#meta + metaBytes) / PAGE_ALIGNMENT) * PAGE_ALIGNMENT;
  }

  /** Gives the memory back. Nothing may read or write it any more. */
  close(): void {
    giveKernel(this.#kernel);
  }

  /** Where the run's frames are to be put. */
  input(length: number): Uint8Array<ArrayBuffer> {
    return this.#kernel.bytes.subarray(this.#input, this.#input + length);
  }

  /** Decoded pages `from` up to but not including `to`, side by side. Valid until the next run. */
  pages(from: number, to: number): Uint8Array<ArrayBuffer> {
    const { bytes } = this.#kernel;
    return bytes.subarray(this.#output + from * this.#pageSize, this.#output + to * this.#pageSize);
  }

  pgnoAt(page: number): number {
    return this.#kernel.view.getUint32(this.#meta + page * META_BYTES, true);
  }

  /** CRC register after `bytes` (at most {@link RUN_FRAME_BYTES}), starting from `seed`. Overwrites the input. */
  hash(seed: bigint, bytes: Uint8Array): bigint {
    this.#kernel.bytes.set(bytes, this.#input);
    this.#kernel.crcReset(0, seed);
    this.#kernel.crcUpdate(0, this.#input, bytes.length);
    return this.#kernel.crcState(0);
  }

  combine(a: bigint, b: bigint, lengthB: number): bigint {
    return this.#kernel.crcCombine(a, b, lengthB);
  }

  /**
   * Decodes the frames in the first `length` bytes of the input, which must be whole frames.
   *
   * @param offset - of the frames in their file, for errors
   * @throws LitestreamError `ERR_LTX_CORRUPTED`
   */
  decode(length: number, pageSize: number, offset: number): DecodedRun {
    this.#pageSize = pageSize;
    this.#kernel.crcReset(0, 0n);
    const capacity = Math.floor(RUN_PAGE_BYTES / pageSize);
    let pages = 0;
    let at = 0;
    let hashed = 0;
    while (at < length) {
      const job = this.#run(at, length, pages, capacity - pages);
      this.#rebase(pages, job.frames, at);
      pages += job.frames;
      at += job.consumed;
      hashed += job.frames * (10 + pageSize);
      if (at === length && job.status !== 'end') break;
      if (job.status !== 'legacy' || pages === capacity) throw this.#damage(job, offset + at);
      at += this.#decodeLegacy(at, length, pages, offset);
      pages += 1;
      hashed += PAGE_HEADER_SIZE + pageSize;
    }
    return { pages, hashed, state: this.#kernel.crcState(0), fold: this.#fold(pages) };
  }

  #run(at: number, length: number, pages: number, capacity: number): DecodeJob {
    const job = this.#job;
    job.source = this.#input + at;
    job.sourceEnd = this.#input + length;
    job.pageSize = this.#pageSize;
    job.target = this.#output + pages * this.#pageSize;
    job.stride = this.#pageSize;
    job.capacity = capacity;
    job.meta = this.#meta + pages * META_BYTES;
    job.stream = 0;
    if (capacity > 0) {
      this.#kernel.decodeFrames(job);
    } else {
      job.frames = 0;
      job.consumed = 0;
      job.status = 'full';
    }
    return job;
  }

  /** Frame offsets of a later part of the run count from the run's start. */
  #rebase(from: number, count: number, at: number): void {
    if (at === 0) return;
    const { view } = this.#kernel;
    for (let page = from; page < from + count; page += 1) {
      const address = this.#meta + page * META_BYTES + 4;
      view.setUint32(address, view.getUint32(address, true) + at, true);
    }
  }

  /** One page whose payload is an LZ4 frame. Returns the size of its frame. */
  #decodeLegacy(at: number, length: number, page: number, offset: number): number {
    const kernel = this.#kernel;
    const start = this.#input + at;
    const payload = kernel.bytes.subarray(start + PAGE_HEADER_SIZE, this.#input + length);
    const size = PAGE_HEADER_SIZE + lz4FrameLength(payload);
    const pgno = kernel.view.getUint32(start);
    const target = this.#output + page * this.#pageSize;
    const frame = kernel.bytes.subarray(start, start + size);
    try {
      decodePageFrame(frame, pgno, kernel.bytes.subarray(target, target + this.#pageSize));
    } catch (error) {
      if (!(error instanceof LitestreamError)) throw error;
      const { details, message, code } = error;
      throw new LitestreamError(code, `page frame at byte ${offset + at}: ${message}`, {
        cause: error,
        details: { ...details, offset: offset + at },
      });
    }
    kernel.crcUpdate(0, start, PAGE_HEADER_SIZE);
    kernel.crcUpdate(0, target, this.#pageSize);
    const meta = this.#meta + page * META_BYTES;
    kernel.view.setUint32(meta, pgno, true);
    kernel.view.setUint32(meta + 4, at, true);
    kernel.view.setUint32(meta + 8, size, true);
    return size;
  }

  #fold(pages: number): number {
    const { words } = this.#kernel;
    let fold = 0;
    for (let page = 0, at = this.#meta / 4; page < pages; page += 1, at += META_BYTES / 4) {
      fold = foldFrame(fold, words[at] ?? 0, words[at + 2] ?? 0);
    }
    return fold;
  }

  #damage(job: DecodeJob, offset: number): LitestreamError {
    const text = STATUS_TEXTS[job.status] ?? 'page index disagrees with the page frames';
    const details = {
      field: 'page frame',
      offset,
      expected: 'a valid page frame',
      found: job.status,
    };
    return new LitestreamError('ERR_LTX_CORRUPTED', `${text} (page frame at byte ${offset})`, {
      details,
    });
  }
}
