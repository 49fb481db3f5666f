import { giveKernel, type Kernel, takeKernel } from '../codec/index.ts';

/** Bytes of pages that are summed in one call. */
export const BATCH_BYTES: number = 256 * 1024;
const BATCH_PAGES = BATCH_BYTES / 512;
const KERNEL_TABLES = 64 * 1024;
const SLACK = 128;

/**
 * Checksums of pages, computed in a kernel. A page's checksum (formats 2.12) covers its number and its data, and is never 0,
 * which stands for "not known" everywhere in this folder.
 */
export class PageSums {
  readonly #kernel: Kernel;
  readonly #list: number;
  readonly #target: number;
  readonly #pages: number;

  constructor() {
    const arenaBytes = KERNEL_TABLES + BATCH_PAGES * 16 + BATCH_BYTES + SLACK;
    this.#kernel = takeKernel(arenaBytes);
    this.#list = this.#kernel.base;
    this.#target = this.#list + BATCH_PAGES * 8;
    this.#pages = this.#target + BATCH_PAGES * 8;
  }

  /** Where consecutive pages are to be put for {@link sum}, {@link BATCH_BYTES} long. */
  get room(): Uint8Array<ArrayBuffer> {
    return this.#kernel.bytes.subarray(this.#pages, this.#pages + BATCH_BYTES);
  }

  /** Checksums of the pages `first` … `first + count − 1`, whose data is in {@link room}, to `sums[first…]`. */
  sum(first: number, count: number, pageSize: number, sums: BigUint64Array): void {
    const { words } = this.#kernel;
    for (let page = 0; page < count; page++) {
      words[this.#list / 4 + page * 2] = (first + page) | 0;
      words[this.#list / 4 + page * 2 + 1] = this.#pages + page * pageSize;
    }
    this.#kernel.checksumPages(this.#list, count, pageSize, this.#target);
    sums.set(new BigUint64Array(this.#kernel.bytes.buffer, this.#target, count), first);
  }

  /** Gives the memory back. */
  close(): void {
    giveKernel(this.#kernel);
  }
}
