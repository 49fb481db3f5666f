import { giveKernel, type Kernel, LtxFileReader, readerBytes, takeKernel } from '../codec/index.ts';
import { formatTxid, type LtxSummary } from '../formats/ltx/index.ts';
import { type Clock, throwIfAborted, yieldToLoop } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { FileInfo, ReplicaClient } from '../storage/index.ts';

/** Pages of one run of the reader: 128 KiB of the smallest pages. */
const RUN_PAGES = 256;
const KERNEL_TABLES = 64 * 1024;
/** The event loop gets a turn after this long. */
const TURN_MS = 4;
const FIRST_CAPACITY = 256;

/** A file that was read to its end and found to be sound by itself. Pages ascend. */
export interface FileContent {
  readonly summary: LtxSummary;
  readonly pgnos: Uint32Array;
  /** `sums[n]` is the checksum of page `pgnos[n]` (formats 2.12), never 0. */
  readonly sums: BigUint64Array;
}

/** Index of a page in a content; −1 if it is not there. */
export function indexOfPage({ pgnos }: FileContent, pgno: number): number {
  let low = 0;
  let high = pgnos.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const found = pgnos[middle] ?? 0;
    if (found === pgno) return middle;
    if (found < pgno) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** Arrays that grow. */
class Pages {
  #pgnos = new Uint32Array(FIRST_CAPACITY);
  #sums = new BigUint64Array(FIRST_CAPACITY);
  #length = 0;

  reserve(count: number): void {
    const wanted = this.#length + count;
    if (wanted <= this.#pgnos.length) return;
    const capacity = Math.max(wanted, this.#pgnos.length * 2);
    const pgnos = new Uint32Array(capacity);
    pgnos.set(this.#pgnos);
    const sums = new BigUint64Array(capacity);
    sums.set(this.#sums);
    this.#pgnos = pgnos;
    this.#sums = sums;
  }

  add(pgno: number, sum: bigint): void {
    this.#pgnos[this.#length] = pgno;
    this.#sums[this.#length] = sum;
    this.#length++;
  }

  get(): { pgnos: Uint32Array; sums: BigUint64Array } {
    return {
      pgnos: this.#pgnos.subarray(0, this.#length),
      sums: this.#sums.subarray(0, this.#length),
    };
  }
}

function checkName(file: FileInfo, { header }: LtxSummary): void {
  const { minTxid, maxTxid } = header;
  if (minTxid === file.minTxid && maxTxid === file.maxTxid) return;
  const expected = `(${formatTxid(file.minTxid)},${formatTxid(file.maxTxid)})`;
  const found = `(${formatTxid(minTxid)},${formatTxid(maxTxid)})`;
  throw new LitestreamError(
    'ERR_LTX_CORRUPTED',
    `header disagrees with the file name (minTxid and maxTxid at byte 16: expected ${expected}, found ${found})`,
    { details: { field: 'minTxid and maxTxid', offset: 16, expected, found, misnamed: true } },
  );
}

/**
 * Reads files one after the other and verifies every byte: header, page frames, page index, trailer, file checksum. Memory: a
 * kernel of half a megabyte, and per page of the file 12 bytes that are kept and 8 that are not.
 */
export class ContentReader {
  readonly #client: ReplicaClient;
  readonly #clock: Clock;
  readonly #kernel: Kernel;
  readonly #list: number;
  readonly #target: number;
  readonly #reader: number;
  #turn: number;
  /** Bytes of all files so far. */
  bytesRead = 0;

  constructor(client: ReplicaClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
    this.#kernel = takeKernel(KERNEL_TABLES + RUN_PAGES * 16 + readerBytes());
    this.#list = this.#kernel.base;
    this.#target = this.#list + RUN_PAGES * 8;
    this.#reader = this.#target + RUN_PAGES * 8;
    this.#turn = clock.monotonic();
  }

  /** Gives the memory back. */
  close(): void {
    giveKernel(this.#kernel);
  }

  /**
   * @throws LitestreamError `ERR_LTX_HEADER` or `ERR_LTX_CORRUPTED` if the bytes are wrong, `ERR_STORAGE_NOT_FOUND` if the file is
   *   gone, other errors of the storage
   */
  async read(file: FileInfo, signal: AbortSignal | undefined): Promise<FileContent> {
    // Stream 0 belongs to the checksums of pages.
    const reader = new LtxFileReader({ kernel: this.#kernel, base: this.#reader, stream: 1 });
    const pages = new Pages();
    for await (const chunk of this.#client.read(file, { signal })) {
      this.bytesRead += chunk.length;
      let rest = chunk;
      while (rest.length > 0) {
        this.#drain(reader, pages);
        rest = rest.subarray(reader.write(rest));
        await this.#breathe(signal);
      }
    }
    reader.endInput();
    this.#drain(reader, pages);
    const summary = reader.finish();
    checkName(file, summary);
    return { summary, ...pages.get() };
  }

  /** Decodes what the reader has. */
  #drain(reader: LtxFileReader, pages: Pages): void {
    while (reader.next() === 'pages') this.#add(reader, pages);
  }

  #add(reader: LtxFileReader, pages: Pages): void {
    const { count, header } = reader;
    const { words, bytes } = this.#kernel;
    for (let index = 0; index < count; index++) {
      words[this.#list / 4 + index * 2] = reader.pgnoAt(index) | 0;
      words[this.#list / 4 + index * 2 + 1] = reader.pageAt(index);
    }
    this.#kernel.checksumPages(this.#list, count, header?.pageSize ?? 0, this.#target);
    const sums = new BigUint64Array(bytes.buffer, this.#target, count);
    pages.reserve(count);
    for (let index = 0; index < count; index++) pages.add(reader.pgnoAt(index), sums[index] ?? 0n);
  }

  async #breathe(signal: AbortSignal | undefined): Promise<void> {
    if (this.#clock.monotonic() - this.#turn < TURN_MS) return;
    await yieldToLoop();
    throwIfAborted(signal);
    this.#turn = this.#clock.monotonic();
  }
}
