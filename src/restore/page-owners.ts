import { LitestreamError } from '../lib/errors.ts';
import { lockPgno } from '../lib/page.ts';

/** Up to this many files fit in 16-bit numbers. */
const SMALL_PLAN = 0xffff;

/** A {@link PageOwners} as it can be sent to another thread, which then sees the same memory. */
export interface SharedOwners {
  readonly commit: number;
  readonly buffer: SharedArrayBuffer;
  readonly bytesPerPage: 2 | 4;
}

/** Which file of the plan holds the newest version of each page: 2 bytes per page, 4 for very long plans. */
export class PageOwners {
  readonly shared: SharedOwners;
  /** Index = page number; 0 = none, else number of the file plus one. */
  readonly #owners: Uint16Array | Uint32Array;

  constructor(shared: SharedOwners) {
    this.shared = shared;
    const { buffer, bytesPerPage } = shared;
    this.#owners = bytesPerPage === 2 ? new Uint16Array(buffer) : new Uint32Array(buffer);
  }

  static create(commit: number, files: number): PageOwners {
    const bytesPerPage = files < SMALL_PLAN ? 2 : 4;
    const buffer = new SharedArrayBuffer((commit + 1) * bytesPerPage);
    return new PageOwners({ commit, buffer, bytesPerPage });
  }

  /** Pages of the final database. */
  get commit(): number {
    return this.shared.commit;
  }

  /** The file holds the page. Files may come in any order. Pages above the final size are dropped. */
  add(file: number, pgno: number): void {
    if (pgno > this.commit) return;
    if ((this.#owners[pgno] ?? 0) <= file) this.#owners[pgno] = file + 1;
  }

  /** True if the newest version of the page is the file's, and the page is part of the database. */
  isNewest(file: number, pgno: number): boolean {
    return this.#owners[pgno] === file + 1;
  }

  /**
   * Every page but the lock page must be in some file.
   *
   * @throws LitestreamError `ERR_LTX_CORRUPTED` with the reference's text. Spec: formats 2.16, 2.20.
   */
  checkComplete(pageSize: number): void {
    const lock = lockPgno(pageSize);
    const missing = this.#nextMissing(1, lock);
    if (missing === 0) return;
    let next = missing;
    while (next <= this.commit && (this.#owners[next] === 0 || next === lock)) next += 1;
    const found = next <= this.commit ? String(next) : 'the end';
    throw new LitestreamError(
      'ERR_LTX_CORRUPTED',
      `nonsequential page numbers in snapshot transaction: ${missing - 1},${found}: no planned file holds page ${missing} of ${this.commit}`,
      { details: { field: 'page number', expected: missing, found } },
    );
  }

  #nextMissing(from: number, lock: number): number {
    for (let pgno = from; pgno <= this.commit; pgno += 1) {
      if (this.#owners[pgno] === 0 && pgno !== lock) return pgno;
    }
    return 0;
  }
}
