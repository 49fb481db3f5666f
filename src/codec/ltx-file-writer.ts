import {
  CHECKSUM_FLAG,
  encodeHeader,
  encodeTrailer,
  FrameTable,
  isSnapshot,
  missingPage,
  orderViolation,
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
import { LitestreamError, type LitestreamErrorInit } from '../lib/errors.ts';
import { lockPgno, MAX_PAGE_SIZE } from '../lib/page.ts';

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

/** Choices of an {@link LtxFileWriter}. */
export interface LtxFileWriterOptions {
  /** Validated by the constructor. */
  readonly header: LtxHeader;
  /**
   * Receives the file's bytes in order; `position` is the offset of the first one. `bytes` is valid until the returned
   * promise resolves.
   */
  readonly sink: (bytes: Uint8Array<ArrayBuffer>, position: number) => void | Promise<void>;
  /** A kernel to work in. Without it one is borrowed until `finish` or `discard`. */
  readonly kernel?: Kernel;
  /**
   * Where the writer's memory begins in the given kernel, a multiple of 64; `kernel.base` without it. It takes
   * {@link writerBytes}.
   */
  readonly base?: number;
  /** CRC stream of the given kernel that the writer uses, 0 without it. */
  readonly stream?: number;
  /** Bytes collected before `needsFlush` becomes true, 256 KiB without it. */
  readonly chunkBytes?: number;
  /** Adds the page index to the result. */
  readonly keepIndex?: boolean;
}

/** A file that was written to its end. */
export interface WrittenLtxFile {
  readonly header: LtxHeader;
  /** Bytes of the file. */
  readonly size: number;
  /** With bit 63 set. */
  readonly fileChecksum: bigint;
  readonly pageCount: number;
  /** Only if it was asked for. */
  readonly index?: PageIndex;
}

/** Frames of consecutive pages that were encoded elsewhere. */
export interface EncodedPart {
  /** All frames, one after the other. */
  readonly frames: Uint8Array;
  /** Size of each frame. */
  readonly sizes: Uint32Array;
  readonly pgnos: Uint32Array;
  /** CRC register over headers, sizes and pages, seeded with 0. */
  readonly state: bigint;
  /** Bytes that went into `state`. */
  readonly hashed: number;
}

/** What {@link LtxFileWriter} and the writers of an `EncodePool` have in common. */
export interface LtxPageWriter {
  /** Pages added so far. */
  readonly pageCount: number;
  /** True if a `flush` must come before the next `add`. */
  readonly needsFlush: boolean;
  /** Where the caller puts the next page; to be asked for again after each `add`. */
  slot(): Uint8Array;
  /** Takes the page in the slot. @throws LitestreamError `ERR_LTX_ENCODE` with the reference's texts. */
  add(pgno: number): void;
  flush(): Promise<void>;
  finish(postApplyChecksum?: bigint): Promise<WrittenLtxFile>;
  /** Gives up. Harmless after `finish`. Not while a call is pending. */
  discard(): void;
}

function failed(text: string, details?: LitestreamErrorInit['details']): LitestreamError {
  return new LitestreamError('ERR_LTX_ENCODE', text, details === undefined ? {} : { details });
}

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
export class LtxFileWriter implements LtxPageWriter {
  readonly #header: LtxHeader;
  readonly #sink: LtxFileWriterOptions['sink'];
  readonly #keepIndex: boolean;
  readonly #kernel: Kernel;
  readonly #borrowed: boolean;
  readonly #job: EncodeJob = newEncodeJob();
  readonly #frames = new FrameTable();
  readonly #snapshot: boolean;
  readonly #lock: number;
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
  #last = 0;
  #state: 'page' | 'closed' = 'page';

  /** @throws LitestreamError `ERR_LTX_HEADER` for a broken rule of formats 2.3. */
  constructor(options: LtxFileWriterOptions) {
    const { header, sink, kernel, chunkBytes = CHUNK_BYTES } = options;
    const bytes = encodeHeader(header);
    const { pageSize } = header;
    this.#header = header;
    this.#sink = sink;
    this.#keepIndex = options.keepIndex ?? false;
    this.#snapshot = isSnapshot(header);
    this.#lock = lockPgno(pageSize);
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
    this.#checkPage(pgno);
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
      if (pgno + slot === this.#lock) continue;
      this.#checkPage(pgno + slot);
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
   * @param page - address of the decompressed page, for the file checksum
   * @throws LitestreamError as {@link add}
   */
  copyFrame(pgno: number, frame: number, size: number, page: number): void {
    assert(!this.needsFlush, 'a due flush comes before the next page');
    const { pageSize } = this.#header;
    assert(size <= FRAME_HEADER + lz4Bound(pageSize), 'a frame is within the bound of its page');
    this.#checkPage(pgno);
    const at = this.#output + this.#pending;
    this.#kernel.bytes.copyWithin(at, frame, frame + size);
    this.#kernel.crcUpdate(this.#stream, at, FRAME_HEADER);
    this.#kernel.crcUpdate(this.#stream, page, pageSize);
    this.#frames.push(pgno, size);
    this.#pending += size;
  }

  /** Checks page numbers ahead, for pages that come through {@link appendPart}. @throws as {@link add} */
  accept(pgno: number): void {
    this.#checkPage(pgno);
  }

  /** Adds frames that were encoded elsewhere, and flushes as needed. Their pages were accepted before. */
  async appendPart(part: EncodedPart): Promise<void> {
    this.#checkOpen();
    const { frames, sizes, pgnos } = part;
    for (let at = 0; at < frames.length;) {
      if (this.needsFlush) await this.flush();
      const piece = frames.subarray(at, at + this.#chunkBytes - this.#pending);
      this.#kernel.bytes.set(piece, this.#output + this.#pending);
      this.#pending += piece.length;
      at += piece.length;
    }
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
    this.#checkOpen();
    this.#checkComplete();
    this.#append(new Uint8Array(PAGE_HEADER_SIZE));
    await this.#writeIndex();
    const trailer = encodeTrailer({ postApplyChecksum, fileChecksum: 0n });
    this.#append(trailer.subarray(0, 8));
    const fileChecksum = CHECKSUM_FLAG | this.#kernel.crcValue(this.#stream);
    const at = this.size - 8;
    validateTrailer(this.#header, { postApplyChecksum, fileChecksum }, at, 'ERR_LTX_ENCODE');
    // As in the reference: a file without pages cannot be written without database checksums.
    if (this.#header.commit === 0 && postApplyChecksum !== EMPTY_CHECKSUM) {
      throw failed('post-apply checksum must be empty for zero-length database');
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
    if (this.#state === 'closed') return;
    this.#state = 'closed';
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
    for (let position = 0; position < frames.length; position++) {
      if (this.needsFlush) await this.flush();
      const start = this.#output + this.#pending;
      const size = frames.sizeAt(position);
      let at = putUvarint(bytes, start, frames.pgnoAt(position));
      at = putUvarint(bytes, at, offset);
      at = putUvarint(bytes, at, size);
      this.#kernel.crcUpdate(this.#stream, start, at - start);
      this.#pending += at - start;
      length += at - start;
      offset += size;
    }
    const end = new Uint8Array(1 + INDEX_SIZE_SIZE);
    new DataView(end.buffer).setBigUint64(1, BigInt(length));
    if (this.needsFlush) await this.flush();
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

  #checkOpen(): void {
    if (this.#state === 'closed') throw failed('ltx encoder closed');
  }

  /** Checks one page against the pages before it and makes it the last one. */
  #checkPage(pgno: number): void {
    this.#checkOpen();
    const last = this.#last;
    const follows = this.#snapshot ? pgno === last + 1 : pgno > last;
    if (!follows || pgno > this.#header.commit || pgno === this.#lock) this.#explain(last, pgno);
    this.#last = pgno;
  }

  /** The unusual cases: the successor of the lock page, or an error in the reference's words. */
  #explain(last: number, pgno: number): void {
    const { commit } = this.#header;
    const details = { field: 'page number', offset: this.size, found: pgno };
    if (pgno > commit) {
      throw failed(`page number ${pgno} out-of-bounds for commit size ${commit}`, details);
    }
    if (pgno === 0) throw failed('page number required', details);
    const text = orderViolation(this.#header, last, pgno);
    if (text !== undefined) throw failed(text, details);
  }

  /** Not in the reference, which fails only when such a snapshot is restored. */
  #checkComplete(): void {
    const expected = missingPage(this.#header, this.#last);
    if (expected === undefined) return;
    const { commit } = this.#header;
    throw failed(`incomplete snapshot: page ${expected} is missing, commit size ${commit}`, {
      field: 'page number',
      offset: this.size,
      expected,
      found: 'end of pages',
    });
  }
}
