import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { type Image, pagesOf, type TestFile } from '../../src/restore/test-replica.ts';

/** A real database whose commits become files of level 0: the pages that differ from the state before. */
export class SourceDatabase {
  readonly path: string;
  readonly pageSize: number;
  readonly #db: DatabaseSync;
  #image: Image = [];
  #txid = 0;

  /** WAL mode is only claimed in the files, as a replicated database would have it. */
  constructor(path: string, pageSize = 512) {
    this.path = path;
    this.pageSize = pageSize;
    this.#db = new DatabaseSync(path);
    this.#db.exec(`PRAGMA page_size = ${pageSize}; PRAGMA synchronous = off`);
  }

  get txid(): number {
    return this.#txid;
  }

  /** All pages as of the last commit. */
  get image(): Image {
    return this.#image;
  }

  commit(sql: string): TestFile {
    this.#db.exec(`BEGIN; ${sql}; COMMIT`);
    return this.#next();
  }

  /** For statements that allow no transaction around them. */
  run(sql: string): TestFile {
    this.#db.exec(sql);
    return this.#next();
  }

  /** Everything up to now in one file. */
  snapshot(): TestFile {
    const { length: commit } = this.#image;
    return { level: 9, min: 1, max: this.#txid, commit, pages: pagesOf(this.#image) };
  }

  close(): void {
    this.#db.close();
  }

  #next(): TestFile {
    const bytes = readFileSync(this.path);
    bytes.fill(2, 18, 20);
    // Nothing but content may tell a reader that page 1 has changed: an update in WAL mode leaves it alone.
    bytes.fill(0, 24, 28);
    bytes.fill(0, 92, 96);
    const image: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += this.pageSize)
      image.push(bytes.subarray(at, at + this.pageSize));
    const before = this.#image;
    this.#image = image;
    this.#txid += 1;
    const pages = pagesOf(image).filter(
      ({ pgno, data }) => Buffer.compare(data, before[pgno - 1] ?? new Uint8Array()) !== 0,
    );
    return { level: 0, min: this.#txid, max: this.#txid, commit: image.length, pages };
  }
}
