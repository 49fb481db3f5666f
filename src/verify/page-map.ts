const FIRST_CAPACITY = 256;
/** Slots of the table per page, at least. */
const SPARE = 2;

/** What a {@link PageMap} knows of a page. */
export interface MappedPage {
  readonly sum: bigint;
  /** Whatever the writer of the entry said. */
  readonly tag: number;
}

/** Checksum and tag per page number, in typed arrays: 16 bytes per slot, at most half of them used. */
export class PageMap {
  /** 0 = free; no page has that number. */
  #keys = new Uint32Array(FIRST_CAPACITY);
  #sums = new BigUint64Array(FIRST_CAPACITY);
  #tags = new Uint32Array(FIRST_CAPACITY);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  clear(): void {
    if (this.#size === 0) return;
    this.#keys = new Uint32Array(FIRST_CAPACITY);
    this.#sums = new BigUint64Array(FIRST_CAPACITY);
    this.#tags = new Uint32Array(FIRST_CAPACITY);
    this.#size = 0;
  }

  set(pgno: number, sum: bigint, tag: number): void {
    if ((this.#size + 1) * SPARE > this.#keys.length) this.#grow();
    const slot = this.#slot(pgno);
    if (this.#keys[slot] === 0) this.#size++;
    this.#keys[slot] = pgno;
    this.#sums[slot] = sum;
    this.#tags[slot] = tag;
  }

  get(pgno: number): MappedPage | undefined {
    const slot = this.#slot(pgno);
    if (this.#keys[slot] !== pgno) return undefined;
    return { sum: this.#sums[slot] ?? 0n, tag: this.#tags[slot] ?? 0 };
  }

  /** The checksum; 0 if the page is not in the map. */
  sumOf(pgno: number): bigint {
    const slot = this.#slot(pgno);
    return this.#keys[slot] === pgno ? (this.#sums[slot] ?? 0n) : 0n;
  }

  /** Calls back for every page, in no order. */
  forEach(visit: (pgno: number, tag: number) => void): void {
    for (let slot = 0; slot < this.#keys.length; slot++) {
      const pgno = this.#keys[slot] ?? 0;
      if (pgno !== 0) visit(pgno, this.#tags[slot] ?? 0);
    }
  }

  /** The page's slot, or the free one where it would go. */
  #slot(pgno: number): number {
    const mask = this.#keys.length - 1;
    let slot = (Math.imul(pgno, 0x9e37_79b1) >>> 7) & mask;
    while (this.#keys[slot] !== 0 && this.#keys[slot] !== pgno) slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const keys = this.#keys;
    const sums = this.#sums;
    const tags = this.#tags;
    this.#keys = new Uint32Array(keys.length * 2);
    this.#sums = new BigUint64Array(keys.length * 2);
    this.#tags = new Uint32Array(keys.length * 2);
    for (let old = 0; old < keys.length; old++) {
      const pgno = keys[old] ?? 0;
      if (pgno === 0) continue;
      const slot = this.#slot(pgno);
      this.#keys[slot] = pgno;
      this.#sums[slot] = sums[old] ?? 0n;
      this.#tags[slot] = tags[old] ?? 0;
    }
  }
}
