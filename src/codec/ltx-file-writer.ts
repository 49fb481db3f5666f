import {
  CHECKSUM_FLAG,
  encodeHeader,
  encodeTrailer,
  FrameTable,
  PAGE_HEADER_SIZE,
  PageIndex,
  putUvarint,
  UVARINT_MAX,
  validateTrailer,
  EMPTY_CHECKSUM,
  INDEX_SIZE_SIZE,
  LTX_HEADER_SIZE,
  LTX_TRAILER_SIZE,
  type LtxHeader,
} from '../formats/ltx/index.ts';
import {
  giveKernel,
  lz4Bound,
  newEncodeJob,
  takeKernel,
  type EncodeJob,
  type Kernel,
} from '../kernels/index.ts';
import { assert } from '../lib/assert.ts';
import { MAX_PAGE_SIZE } from '../lib/page.ts';
import type { EncodedPart, LtxFileWriterOptions, WrittenLtxFile } from './ltx-writer-types.ts';
import { encodeError, PageOrder } from './page-order.ts';

/** Page header, size prefix. */
const FRAME_HEADER = 10;
/** More than a kernel of four streams takes for itself. */
const KERNEL_BYTES = 64 * 1024;
/** Room for the list and the sizes of one batch. */
const LIST_PAGES = 1024;
const LIST_BYTES = LIST_PAGES * 12;
/** Pages are read and framed in windows of this size: it stays in the second-level cache. */
const WINDOW_BYTES = 256 * 1024;
const CHUNK_BYTES = 256 * 1024;
/** End marker, terminator of the index, index size, trailer and one varint triple: what must fit behind the last page. */
const TAIL_BYTES = PAGE_HEADER_SIZE + 3 * UVARINT_MAX + 1 + INDEX_SIZE_SIZE + LTX_TRAILER_SIZE;

/** Bytes that a writer takes of a given kernel, a multiple of 64. */
export function writerBytes(chunkBytes: number = CHUNK_BYTES): number {
  const worst = FRAME_HEADER + lz4Bound(MAX_PAGE_SIZE);
  return (LIST_BYTES + WINDOW_BYTES + chunkBytes + worst + TAIL_BYTES + 128) & ~63;
}

/** `arenaBytes` of a kernel that holds one writer and nothing else. */
export function writerArenaBytes(chunkBytes: number = CHUNK_BYTES): number {
  return KERNEL_BYTES + writerBytes(chunkBytes);
}

/**
 * Writes one LTX file from pages in ascending order.
 *
 * Put a page into {@link slot}, call {@link add}; whenever {@link needsFlush} is true, await {@link flush}; at the end
 * await {@link finish}. For many adjacent pages fill {@link window} and await {@link writeRun}. Bytes leave through the
 * sink in large pieces; a small file leaves in one. No memory is allocated per page, and 8 bytes per page are kept for
 * the index.
 *
 * After an error of any call or of the sink, call {@link discard}; what the sink got is no valid file.
 *
 * Spec: formats 2.16, performance 7.
 */
export class LtxFileWriter {
  readonly #header: LtxHeader;
  readonly #sink: LtxFileWriterOptions['sink'];
  readonly #keepIndex: boolean;
  readonly #kernel: Kernel;
  readonly #borrowed: boolean;
  readonly #job: EncodeJob = newEncodeJob();
  readonly #frames = new FrameTable();
  readonly #order: PageOrder;
  readonly #stream: number;
  /** Address of the window; page slots are `pageSize` apart. */
  readonly #window: number;
  readonly #slots: number;
  /** Address of the collected output. */
  readonly #output: number;
  readonly #outputEnd: number;
  readonly #chunkBytes: number;
  /** Bytes collected. */
  #pending = 0;
  /** Bytes given to the sink. */
  #written = 0;

  /** @throws LitestreamError `ERR_LTX_HEADER` for a broken rule of formats 2.3. */
  constructor(options: LtxFileWriterOptions) {
    const { header, sink, kernel, chunkBytes = CHUNK_BYTES } = options;
    const bytes = encodeHeader(header);
    const { pageSize } = header;
    this.#header = header;
    this.#sink = sink;
    this.#keepIndex = options.keepIndex ?? false;
    this.#order = new PageOrder(header);
    this.#borrowed = kernel === undefined;
    this.#kernel = kernel ?? takeKernel(writerArenaBytes(chunkBytes));
    this.#chunkBytes = chunkBytes;
    this.#stream = options.stream ?? 0;
    const { limit } = this.#kernel;
    const base = options.base ?? this.#kernel.base;
    this.#slots = Math.min(WINDOW_BYTES / pageSize, LIST_PAGES);
    this.#window = base + LIST_BYTES;
    // The kernel may write a little behind the last frame, never behind a page: pages are only read.
    this.#output = this.#window + this.#slots * pageSize;
    this.#outputEnd = this.#output + chunkBytes + FRAME_HEADER + lz4Bound(pageSize) + TAIL_BYTES;
    assert(this.#outputEnd <= limit, 'the kernel memory holds a window and a chunk');
    this.#job.list = base;
    this.#job.sizes = base + LIST_PAGES * 8;
    this.#job.pageSize = pageSize;
    this.#job.stream = this.#stream;
    this.#kernel.crcReset(this.#stream);
    this.#append(bytes);
  }

  /** Page slots in {@link window}. */
  get slots(): number {
    return this.#slots;
  }

  /** All slots side by side: room for `slots` adjacent pages. Never overwritten by the writer. */
  get window(): Uint8Array<ArrayBuffer> {
    const size = this.#slots * this.#header.pageSize;
    return this.#kernel.bytes.subarray(this.#window, this.#window + size);
  }

  /** Where the caller puts a page. Slot 0 is the one that {@link add} takes by default. */
  slot(index = 0): Uint8Array<ArrayBuffer> {
    const { pageSize } = this.#header;
    const at = this.#window + index * pageSize;
    return this.#kernel.bytes.subarray(at, at + pageSize);
  }

  /** True if enough bytes are collected for the sink; the next `add` needs a `flush` first. */
  get needsFlush(): boolean {
    return this.#pending >= this.#chunkBytes;
  }

  /** Pages added so far. */
  get pageCount(): number {
    return this.#frames.length;
  }

  /** Bytes of the file so far, end marker, index and trailer not counted. */
  get size(): number {
    return this.#written + this.#pending;
  }

  /**
   * Frames the page in a slot. Synchronous; the slot is free again afterwards.
   *
   * @param pgno - above all before; in a snapshot every page from 1 on, the lock page left out
   * @throws LitestreamError `ERR_LTX_ENCODE` with the reference's texts, `ERR_ASSERTION` if a flush was due.
   */
  add(pgno: number, slot = 0): void {
    assert(!this.needsFlush, 'a due flush comes before the next page');
    this.#order.take(pgno, this.size);
    this.#list(0, pgno, slot);
    this.#encode(1);
  }

  /**
   * Frames `count` adjacent pages from the first slots of the window, page `pgno` first, and flushes as needed. The lock
   * page's slot is passed over.
   */
  async writeRun(pgno: number, count: number): Promise<void> {
    assert(count <= this.#slots, 'a run fits in the window');
    let listed = 0;
    for (let slot = 0; slot < count; slot++) {
      if (pgno + slot === this.#order.lock) continue;
      this.#order.take(pgno + slot, this.size);
      this.#list(listed++, pgno + slot, slot);
    }
    let done = 0;
    while (done < listed) {
      if (this.needsFlush) await this.flush();
      done += this.#encode(listed - done, done);
    }
  }

  /**
   * Takes over a frame in block form that lies in the same kernel, without compressing its page again.
   *
   * @param frame - address of the frame: 6-byte page header with the size flag, 4-byte size, payload
   * @param size - bytes of the frame
   * @param sum - address of the frame's register (`LtxFileReader.sumAt`), for the file checksum
   * @throws LitestreamError as {@link add}
   */
  copyFrame(pgno: number, frame: number, size: number, sum: number): void {
    assert(!this.needsFlush, 'a due flush comes before the next page');
    const { pageSize } = this.#header;
    assert(size <= FRAME_HEADER + lz4Bound(pageSize), 'a frame is within the bound of its page');
    this.#order.take(pgno, this.size);
    const at = this.#output + this.#pending;
    this.#kernel.bytes.copyWithin(at, frame, frame + size);
    this.#kernel.crcAppend(this.#stream, sum, FRAME_HEADER + pageSize);
    this.#frames.push(pgno, size);
    this.#pending += size;
  }

  /** Checks page numbers ahead, for pages that come through {@link appendPart}. @throws as {@link add} */
  accept(pgno: number): void {
    this.#order.take(pgno, this.size);
  }

  /** Adds frames that were encoded elsewhere; they go straight to the sink. Their pages were accepted before. */
  async appendPart(part: EncodedPart): Promise<void> {
    this.#order.requireOpen();
    const { frames, sizes, pgnos } = part;
    await this.flush();
    await this.#sink(frames, this.#written);
    this.#written += frames.length;
    const before = this.#kernel.crcState(this.#stream);
    const after = this.#kernel.crcCombine(before, part.state, part.hashed);
    this.#kernel.crcReset(this.#stream, after);
    for (let index = 0; index < sizes.length; index++) {
      this.#frames.push(pgnos[index] ?? 0, sizes[index] ?? 0);
    }
  }

  /** Gives everything collected to the sink. */
  async flush(): Promise<void> {
    if (this.#pending === 0) return;
    const piece = this.#kernel.bytes.subarray(this.#output, this.#output + this.#pending);
    await this.#sink(piece, this.#written);
    this.#written += this.#pending;
    this.#pending = 0;
  }

  /**
   * Writes end marker, index and trailer, gives the rest to the sink and the kernel back.
   *
   * @param postApplyChecksum - rolling database checksum after this file; 0 with `LTX_NO_CHECKSUM`
   * @throws LitestreamError `ERR_LTX_ENCODE` with the reference's texts, or for an incomplete snapshot.
   */
  async finish(postApplyChecksum = 0n): Promise<WrittenLtxFile> {
    this.#order.requireOpen();
    this.#order.requireComplete(this.size);
    this.#append(new Uint8Array(PAGE_HEADER_SIZE));
    if (this.needsFlush) await this.flush();
    await this.#writeIndex();
    const trailer = encodeTrailer({ postApplyChecksum, fileChecksum: 0n });
    this.#append(trailer.subarray(0, 8));
    const fileChecksum = CHECKSUM_FLAG | this.#kernel.crcValue(this.#stream);
    const at = this.size - 8;
    validateTrailer(this.#header, { postApplyChecksum, fileChecksum }, at, 'ERR_LTX_ENCODE');
    // As in the reference: a file without pages cannot be written without database checksums.
    if (this.#header.commit === 0 && postApplyChecksum !== EMPTY_CHECKSUM) {
      throw encodeError('post-apply checksum must be empty for zero-length database');
    }
    this.#append(encodeTrailer({ postApplyChecksum, fileChecksum }).subarray(8), false);
    await this.flush();
    this.discard();
    return {
      header: this.#header,
      size: this.#written,
      fileChecksum,
      pageCount: this.#frames.length,
      ...(this.#keepIndex ? { index: PageIndex.fromFrames(this.#frames) } : {}),
    };
  }

  /** Ends the writer and gives a borrowed kernel back. Not while a call is pending. Harmless when called again. */
  discard(): void {
    if (!this.#order.isOpen) return;
    this.#order.close();
    if (this.#borrowed) giveKernel(this.#kernel);
  }

  /** Copies small parts of the file behind the collected output. */
  #append(bytes: Uint8Array, hashed = true): void {
    const at = this.#output + this.#pending;
    this.#kernel.bytes.set(bytes, at);
    if (hashed) this.#kernel.crcUpdate(this.#stream, at, bytes.length);
    this.#pending += bytes.length;
  }

  /** Spec: formats 2.8. Written straight into the output, so that an index of any length takes no memory. */
  async #writeIndex(): Promise<void> {
    const { bytes } = this.#kernel;
    const frames = this.#frames;
    let offset = LTX_HEADER_SIZE;
    let length = 1;
    let hashed = this.#output + this.#pending;
    for (let position = 0; position < frames.length; position++) {
      const size = frames.sizeAt(position);
      const start = this.#output + this.#pending;
      let at = putUvarint(bytes, start, frames.pgnoAt(position));
      at = putUvarint(bytes, at, offset);
      at = putUvarint(bytes, at, size);
      this.#pending += at - start;
      length += at - start;
      offset += size;
      if (!this.needsFlush && position + 1 < frames.length) continue;
      this.#kernel.crcUpdate(this.#stream, hashed, at - hashed);
      if (this.needsFlush) await this.flush();
      hashed = this.#output + this.#pending;
    }
    const end = new Uint8Array(1 + INDEX_SIZE_SIZE);
    new DataView(end.buffer).setBigUint64(1, BigInt(length));
    this.#append(end);
  }

  #list(position: number, pgno: number, slot: number): void {
    const word = this.#job.list / 4 + position * 2;
    this.#kernel.words[word] = pgno;
    this.#kernel.words[word + 1] = this.#window + slot * this.#header.pageSize;
  }

  /** Frames listed pages as long as the output has room; returns how many. */
  #encode(count: number, from = 0): number {
    const job = this.#job;
    const list = job.list;
    job.list = list + from * 8;
    job.count = count;
    job.target = this.#output + this.#pending;
    job.targetEnd = this.#outputEnd - TAIL_BYTES;
    this.#kernel.encodePages(job);
    job.list = list;
    const { words } = this.#kernel;
    for (let page = 0; page < job.pages; page++) {
      const pgno = (words[list / 4 + (from + page) * 2] ?? 0) >>> 0;
      this.#frames.push(pgno, words[job.sizes / 4 + page] ?? 0);
    }
    this.#pending += job.bytes;
    return job.pages;
  }
}
