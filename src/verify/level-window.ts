import type { FileInfo } from '../storage/index.ts';
import { type FileContent, indexOfPage } from './file-content.ts';
import { PageMap } from './page-map.ts';

/** Pages that are listed one by one in a message. */
const LISTED_PAGES = 5;

/** Pages in which two accounts of one state differ. */
export class PageDifference {
  #count = 0;
  readonly #first: number[] = [];

  add(pgno: number): void {
    this.#count++;
    if (this.#first.length < LISTED_PAGES) this.#first.push(pgno);
  }

  get count(): number {
    return this.#count;
  }

  /** `page 5`, `pages 5, 7, 9 and 3 more`. */
  get text(): string {
    const rest = this.#count - this.#first.length;
    const list = this.#first.toSorted((a, b) => a - b).join(', ');
    const more = rest === 0 ? '' : ` and ${rest} more`;
    return `${this.#count === 1 ? 'page' : 'pages'} ${list}${more}`;
  }
}

/**
 * What the latest files of one level, which follow one another without a gap, say of the pages they hold. A file of a higher level
 * that ends where they end must say the same.
 */
export class LevelWindow {
  readonly #pages = new PageMap();
  #files: FileInfo[] = [];
  #end = 0n;
  #commit = 0;
  #pageSize = 0;

  /** The files end with this TXID; 0 if there are none. */
  get end(): bigint {
    return this.#files.length === 0 ? 0n : this.#end;
  }

  clear(): void {
    this.#pages.clear();
    this.#files = [];
  }

  /** Adds the next file; one that does not continue the others begins anew. */
  push(file: FileInfo, { pgnos, sums, summary }: FileContent): void {
    const { commit, pageSize } = summary.header;
    const continues = file.minTxid <= this.#end + 1n && file.maxTxid > this.#end;
    if (!continues || pageSize !== this.#pageSize) this.clear();
    const tag = this.#files.push(file) - 1;
    this.#end = file.maxTxid;
    this.#commit = commit;
    this.#pageSize = pageSize;
    for (let index = 0; index < pgnos.length; index++) {
      this.#pages.set(pgnos[index] ?? 0, sums[index] ?? 0n, tag);
    }
  }

  /** What a file of a higher level, which ends where the window ends, says otherwise. */
  compare(file: FileInfo, content: FileContent): PageDifference {
    const difference = new PageDifference();
    const { header } = content.summary;
    // A change of the page size breaks the history; that is noticed elsewhere.
    if (header.pageSize !== this.#pageSize) return difference;
    for (const [index, pgno] of content.pgnos.entries()) {
      const own = this.#pages.sumOf(pgno);
      if (own !== 0n && own !== content.sums[index]) difference.add(pgno);
    }
    const inside = this.#files.map((lower) => lower.minTxid >= file.minTxid);
    this.#pages.forEach((pgno, tag) => {
      if (pgno > header.commit || inside[tag] !== true) return;
      if (indexOfPage(content, pgno) < 0) difference.add(pgno);
    });
    if (header.commit !== this.#commit) difference.add(1);
    return difference;
  }
}
