import { EMPTY_CHECKSUM, rollChecksum } from '../formats/ltx/index.ts';
import { lockPgno } from '../lib/page.ts';
import type { FileContent } from './file-content.ts';

/** Checksums of all pages of one state of a database: 8 bytes per page, plus what growing leaves unused. */
export class PageState {
  readonly pageSize: number;
  readonly #lock: number;
  /** Index = page number; 0 = not known. */
  #sums: BigUint64Array;
  #commit = 0;
  #known = 0;

  constructor(pageSize: number) {
    this.pageSize = pageSize;
    this.#lock = lockPgno(pageSize);
    this.#sums = new BigUint64Array(1024);
  }

  /** Size of the database in pages. */
  get commit(): number {
    return this.#commit;
  }

  /** Pages of the database that no file has held so far. */
  get missing(): number {
    return this.#commit - this.#known - (this.#lock <= this.#commit ? 1 : 0);
  }

  /** The first of the missing pages; 0 if there are none. */
  get firstMissing(): number {
    if (this.missing === 0) return 0;
    for (let pgno = 1; pgno <= this.#commit; pgno++) {
      if (this.sumOf(pgno) === 0n && pgno !== this.#lock) return pgno;
    }
    return 0;
  }

  /** The page's checksum; 0 if it is not known. */
  sumOf(pgno: number): bigint {
    return this.#sums[pgno] ?? 0n;
  }

  /** Applies a file. Pages that a smaller database drops are kept: a file that grows it again may lack them (formats 2.20). */
  apply({ pgnos, sums, summary }: FileContent): void {
    // Pages ascend. The commit size is not believed: only pages that exist take memory.
    this.#reserve(pgnos.at(-1) ?? 0);
    this.#resize(summary.header.commit);
    for (let index = 0; index < pgnos.length; index++) {
      const pgno = pgnos[index] ?? 0;
      if (this.#sums[pgno] === 0n && pgno <= this.#commit) this.#known++;
      this.#sums[pgno] = sums[index] ?? 0n;
    }
  }

  /** The rolling database checksum of the state. Spec: formats 2.12. */
  checksum(): bigint {
    let rolling = EMPTY_CHECKSUM;
    for (let pgno = 1; pgno <= Math.min(this.#commit, this.#sums.length - 1); pgno++) {
      const sum = this.#sums[pgno] ?? 0n;
      if (sum !== 0n) rolling = rollChecksum(rolling, sum);
    }
    return rolling;
  }

  #resize(commit: number): void {
    const from = Math.min(this.#commit, commit) + 1;
    const to = Math.min(Math.max(this.#commit, commit), this.#sums.length - 1);
    const step = commit > this.#commit ? 1 : -1;
    for (let pgno = from; pgno <= to; pgno++) if (this.#sums[pgno] !== 0n) this.#known += step;
    this.#commit = commit;
  }

  #reserve(pgno: number): void {
    if (pgno < this.#sums.length) return;
    const grown = new BigUint64Array(Math.max(pgno + 1, Math.ceil(this.#sums.length * 1.5)));
    grown.set(this.#sums);
    this.#sums = grown;
  }
}

/** True if the file holds every page of its database. */
export function isWhole({ pgnos, summary }: FileContent): boolean {
  const { commit, pageSize } = summary.header;
  return pgnos.length === commit - (lockPgno(pageSize) <= commit ? 1 : 0);
}
