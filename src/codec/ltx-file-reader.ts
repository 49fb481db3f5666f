import {
  decodeHeader,
  EMPTY_CHECKSUM,
  FrameTable,
  isSnapshot,
  LTX_HEADER_SIZE,
  LTX_NO_CHECKSUM,
  PAGE_HEADER_SIZE,
  pageChecksum,
  pageFrameParser,
  rollChecksum,
  TailReader,
  type LtxHeader,
  type LtxSummary,
} from '../formats/ltx/index.ts';
import { Crc64, newDecodeJob, type DecodeJob, type Kernel, type Parser } from '../kernels/index.ts';
import { assert, present } from '../lib/assert.ts';
import { type LitestreamError, wrapError } from '../lib/errors.ts';
import { lockPgno } from '../lib/page.ts';
import {
  frameDamage,
  incompleteDamage,
  pageNumberDamage,
  truncationDamage,
} from './reader-damage.ts';
import { InputWindow } from './input-window.ts';

import {
  frameBound,
  readerMemory,
  SUM_BYTES,
  READER_WINDOW_BYTES,
  READER_PAGE_BYTES,
  type FrameRuns,
  type ReaderMemory,
} from './reader-memory.ts';

/** Where a reader works and how much it holds. */
export interface LtxFileReaderOptions {
  readonly kernel: Kernel;
  /** Start of the reader's memory, a multiple of 64; it takes {@link readerBytes}. */
  readonly base: number;
  /** CRC stream of the kernel that only this reader uses. */
  readonly stream: number;
  /** Encoded bytes held, at least one frame; {@link READER_WINDOW_BYTES} without it. */
  readonly windowBytes?: number;
  /** Room for the pages of one run, at least one page; {@link READER_PAGE_BYTES} without it. */
  readonly pageBytes?: number;
  /** For frames that are copied: instead of the pages, their registers are there (`sumAt`). */
  readonly frames?: FrameRuns | undefined;
}

/**
 * Reads one LTX file from pieces that may end anywhere and hands its pages over in runs, decoded and with their frames in
 * place, so that a frame can be copied verbatim (`LtxFileWriter.copyFrame`).
 *
 * Loop: while {@link next} returns `input`, put bytes into {@link room} and call {@link filled} (or call {@link endInput});
 * after `pages`, use `count`, `pgnoAt`, `pageAt` or `sumAt`, `frameAt`, `frameSizeAt` before the next call; after `end`, {@link finish}
 * verifies checksum, index and trailer. Until then the pages are provisional.
 *
 * Checks everything that `LtxDecoder` checks, with the same codes: `ERR_LTX_HEADER`, `ERR_LTX_CORRUPTED`. 8 bytes per page
 * are kept. Spec: formats 2.17, 2.18.
 */
export class LtxFileReader {
  readonly #kernel: Kernel;
  readonly #stream: number;
  readonly #job: DecodeJob = newDecodeJob();
  readonly #frames = new FrameTable();
  readonly #window: InputWindow;
  readonly #memory: ReaderMemory;
  readonly #pages: number;
  #ended = false;
  #header: LtxHeader | undefined;
  #last = 0;
  #rolling: bigint | undefined;
  /** The LZ4 frame of an old file that is being read, and how many bytes it wants next. */
  #legacy: Parser<void> | undefined;
  #legacyNeed = 0;
  #legacyStart = 0;
  #legacyPgno = 0;
  /** True if the run is one page from an LZ4 frame. */
  #isLegacyRun = false;
  #count = 0;
  #tail: TailReader | undefined;

  constructor(options: LtxFileReaderOptions) {
    const { kernel, base, frames, stream } = options;
    const { pageBytes = READER_PAGE_BYTES, windowBytes = READER_WINDOW_BYTES } = options;
    const memory = readerMemory(frames ?? { pageBytes, windowBytes });
    const end = base + memory.bytes;
    assert(base >= kernel.base && end <= kernel.limit, 'the kernel memory holds the reader');
    this.#kernel = kernel;
    this.#stream = stream;
    this.#memory = memory;
    this.#window = new InputWindow({
      ...memory.parts,
      bytes: kernel.bytes,
      base: base + memory.window,
    });
    this.#pages = base + memory.pages;
    this.#job.meta = base;
    this.#job.stream = stream;
    this.#job.target = this.#pages;
    if (frames !== undefined) this.#job.sums = base + memory.sums;
    kernel.crcReset(stream);
  }

  /** The header, once `next` has seen its 100 bytes. */
  get header(): LtxHeader | undefined {
    return this.#header;
  }

  /** Pages of the current run. */
  get count(): number {
    return this.#count;
  }

  /** Pages decoded so far, the current run included. */
  get pageCount(): number {
    return this.#frames.length;
  }

  pgnoAt(index: number): number {
    return (this.#meta(index, 0) ?? 0) >>> 0;
  }

  /** Address of a decoded page in the kernel; of a reader of frames only for a page from an LZ4 frame. */
  pageAt(index: number): number {
    return this.#meta(index, 3) ?? 0;
  }

  /** Address of a frame's register, of a reader of frames. */
  sumAt(index: number): number {
    assert(index < this.#count, 'the page is in the run');
    return this.#job.sums + index * SUM_BYTES;
  }

  /** Address of the frame in the kernel; −1 for a page from an LZ4 frame, which cannot be copied verbatim. */
  frameAt(index: number): number {
    return this.#isLegacyRun ? -1 : this.#job.source + (this.#meta(index, 1) ?? 0);
  }

  /** Bytes of the whole frame. */
  frameSizeAt(index: number): number {
    return this.#meta(index, 2) ?? 0;
  }

  /** Free memory for the next bytes of the file; never empty after `next` has returned `input`. */
  room(): Uint8Array<ArrayBuffer> {
    return this.#window.room();
  }

  /** Says that the first `length` bytes of {@link room} are now the next bytes of the file. */
  filled(length: number): void {
    this.#window.filled(length);
  }

  /** Memory for bytes that are read while a run is still in use; undefined if the reader has none. */
  ahead(): Uint8Array<ArrayBuffer> | undefined {
    return this.#window.ahead();
  }

  /** Says that the first `length` bytes of {@link ahead} are now the next bytes of the file. Only after `input`. */
  turnOver(length: number): void {
    this.#window.turnOver(length);
  }

  /** Copies as many bytes as there is room for; returns how many. */
  write(bytes: Uint8Array): number {
    const room = this.room();
    const length = Math.min(room.length, bytes.length);
    room.set(bytes.subarray(0, length));
    this.filled(length);
    return length;
  }

  /** Says that no more bytes follow. */
  endInput(): void {
    this.#ended = true;
  }

  /**
   * Goes on as far as the bytes in the window allow.
   *
   * @throws LitestreamError `ERR_LTX_HEADER`, `ERR_LTX_CORRUPTED`. The reader is of no use afterwards.
   */
  next(): 'input' | 'pages' | 'end' {
    this.#count = 0;
    this.#isLegacyRun = false;
    const header = this.#header ?? this.#readHeader();
    if (header === undefined) return 'input';
    if (this.#tail === undefined) {
      const found = this.#legacy === undefined ? this.#run(header) : this.#resumeLegacy(header);
      if (found !== 'end') return found;
    }
    const tail = present(this.#tail, 'reader of the tail');
    tail.push(this.#window.unread());
    this.#window.advance(this.#window.length);
    return this.#ended ? 'end' : 'input';
  }

  /**
   * Verifies what follows the pages. Only after `next` has returned `end`.
   *
   * @throws LitestreamError `ERR_LTX_CORRUPTED`
   */
  finish(): LtxSummary {
    const tail = present(this.#tail, 'reader of the tail');
    const trailer = tail.end();
    return {
      header: present(this.#header, 'header of the file'),
      trailer,
      pageCount: this.#frames.length,
      size: this.#window.offset,
    };
  }

  #meta(index: number, word: number): number | undefined {
    assert(index < this.#count, 'the page is in the run');
    return this.#kernel.words[this.#job.meta / 4 + index * 4 + word];
  }

  #readHeader(): LtxHeader | undefined {
    const bytes = this.#window.unread();
    if (bytes.length < LTX_HEADER_SIZE && !this.#ended) return undefined;
    let header: LtxHeader;
    try {
      header = decodeHeader(bytes);
    } catch (error) {
      throw wrapError('decode header', error);
    }
    const { pageSize } = header;
    const { frameBytes, pageBytes } = this.#memory;
    const fits = pageSize <= pageBytes && frameBound(pageSize) <= frameBytes;
    assert(fits, 'the reader holds one page');
    this.#kernel.crcUpdate(this.#stream, this.#window.start, LTX_HEADER_SIZE);
    this.#window.advance(LTX_HEADER_SIZE);
    this.#header = header;
    if (isSnapshot(header) && (header.flags & LTX_NO_CHECKSUM) === 0) {
      this.#rolling = EMPTY_CHECKSUM;
    }
    return header;
  }

  /** Decodes as many frames as the window holds and the pages have room for. */
  #run(header: LtxHeader): 'input' | 'pages' | 'end' {
    const job = this.#job;
    const { pageSize } = header;
    const { offset } = this.#window;
    job.source = this.#window.start;
    job.sourceEnd = this.#window.end;
    job.pageSize = pageSize;
    const { pageBytes, runFrames } = this.#memory;
    job.stride = runFrames === undefined ? pageSize : 0;
    // The rolling checksum is made of pages, and a reader of frames holds one.
    const oneByOne = this.#rolling !== undefined && runFrames !== undefined;
    job.capacity = oneByOne ? 1 : (runFrames ?? Math.floor(pageBytes / pageSize));
    this.#kernel.decodeFrames(job);
    this.#count = job.frames;
    this.#acceptRun(header, offset);
    this.#frames.pushRun(this.#kernel.words, job.meta / 4, job.frames);
    this.#window.advance(job.consumed);
    if (job.status === 'end') this.#startTail(header);
    if (job.frames > 0) return 'pages';
    if (job.status === 'end') return 'end';
    if (job.status === 'legacy') return this.#startLegacy(header);
    if (job.status !== 'incomplete') throw this.#damage(header);
    if (this.#ended) throw this.#truncated('page frame', job.needed);
    return 'input';
  }

  /** Checks the page numbers of a run. What is as usual takes no call. */
  #acceptRun(header: LtxHeader, offset: number): void {
    const { words } = this.#kernel;
    const { commit, pageSize } = header;
    const meta = this.#job.meta / 4;
    const lock = lockPgno(pageSize);
    const furthest = isSnapshot(header) ? 1 : commit;
    for (let index = 0; index < this.#count; index++) {
      const pgno = (words[meta + index * 4] ?? 0) >>> 0;
      const step = pgno - this.#last;
      if (step > 0 && step <= furthest && pgno <= commit && pgno !== lock) this.#last = pgno;
      else this.#accept(header, pgno, offset + (this.#meta(index, 1) ?? 0), index);
      if (this.#rolling !== undefined) this.#roll(index, pageSize);
    }
  }

  #roll(index: number, pageSize: number): void {
    const at = this.pageAt(index);
    const page = this.#kernel.bytes.subarray(at, at + pageSize);
    const checksum = pageChecksum(this.pgnoAt(index), page);
    this.#rolling = rollChecksum(this.#rolling ?? EMPTY_CHECKSUM, checksum);
  }

  /** Checks a page number against the ones before it. */
  #accept(header: LtxHeader, pgno: number, offset: number, inRun = 0): void {
    const prefix = this.#prefix(inRun);
    const error = pageNumberDamage(header, { last: this.#last, pgno, offset, prefix });
    if (error !== undefined) throw error;
    this.#last = pgno;
  }

  #prefix(inRun = 0): string {
    return `decode page ${this.#frames.length + inRun}: `;
  }

  #startLegacy(header: LtxHeader): 'input' | 'pages' | 'end' {
    const at = this.#window.start;
    this.#legacyPgno = this.#kernel.view.getUint32(at);
    this.#accept(header, this.#legacyPgno, this.#window.offset);
    this.#kernel.crcUpdate(this.#stream, at, PAGE_HEADER_SIZE);
    this.#legacyStart = this.#window.offset;
    this.#window.advance(PAGE_HEADER_SIZE);
    const page = this.#kernel.bytes.subarray(this.#pages, this.#pages + header.pageSize);
    this.#legacy = pageFrameParser(page, this.#window.offset, this.#prefix());
    this.#legacyNeed = this.#legacy.next().value ?? 0;
    return this.#resumeLegacy(header);
  }

  /** Feeds the LZ4 frame piece by piece: its length is known only at its end. */
  #resumeLegacy(header: LtxHeader): 'input' | 'pages' | 'end' {
    const parser = present(this.#legacy, 'parser of the LZ4 frame');
    while (this.#window.length >= this.#legacyNeed) {
      const need = this.#legacyNeed;
      const piece = this.#window.unread().subarray(0, need);
      const step = parser.next(piece);
      this.#window.advance(need);
      if (step.done === true) return this.#endLegacy(header);
      this.#legacyNeed = step.value;
    }
    if (this.#ended) throw this.#truncated('lz4 frame', this.#legacyNeed);
    return 'input';
  }

  #endLegacy(header: LtxHeader): 'pages' {
    const size = this.#window.offset - this.#legacyStart;
    const { words } = this.#kernel;
    this.#legacy = undefined;
    this.#isLegacyRun = true;
    this.#count = 1;
    words.set([this.#legacyPgno | 0, 0, size, this.#pages], this.#job.meta / 4);
    this.#kernel.crcUpdate(this.#stream, this.#pages, header.pageSize);
    this.#frames.push(this.#legacyPgno, size);
    if (this.#rolling !== undefined) this.#roll(0, header.pageSize);
    return 'pages';
  }

  #startTail(header: LtxHeader): void {
    this.#tail = new TailReader({
      header,
      frames: this.#frames,
      crc: new Crc64(this.#kernel.crcState(this.#stream)),
      offset: this.#window.offset,
      rolling: this.#rolling,
      problem: incompleteDamage(header, this.#last, this.#window.offset - PAGE_HEADER_SIZE),
    });
  }

  #truncated(field: string, need: number): LitestreamError {
    const { length: found, offset } = this.#window;
    return truncationDamage(field, { need, found, offset, prefix: this.#prefix() });
  }

  /** Says what is wrong with the frame at which the kernel stopped. */
  #damage(header: LtxHeader): LitestreamError {
    return frameDamage(header, {
      bytes: this.#window.unread(),
      job: this.#job,
      offset: this.#window.offset,
      prefix: this.#prefix(),
    });
  }
}
