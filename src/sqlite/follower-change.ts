import { dirname } from 'node:path';
import { parseDatabaseHeader, stampFollowedPage } from '../formats/sqlite/index.ts';
import { assert } from '../lib/assert.ts';
import { throwIfAborted } from '../lib/clock.ts';
import type { FileSystem, OpenFile } from '../lib/file-system.ts';
import { lockPgno } from '../lib/page.ts';
import { FollowerJournal } from './follower-journal.ts';

const COPY_BYTES = 1 << 20;

/** Whole pages with consecutive numbers. */
export interface PageRun {
  /** Of the first. */
  readonly pgno: number;
  readonly data: Uint8Array;
}

/** The pages of one transaction, or of several in a row. */
export interface FollowedPages {
  /** Bytes. */
  readonly pageSize: number;
  /** Size of the database afterwards, in pages. */
  readonly commit: number;
  /**
   * The pages in ascending order. Asked for twice and must be the same both times; what the first pass throws leaves the
   * database untouched. A run belongs to the receiver.
   */
  pages(): AsyncIterable<PageRun>;
}

/** What has to be written, found out before the lock is taken. */
export interface FollowerChange {
  readonly pages: FollowedPages;
  readonly journal: FollowerJournal;
  /** Numbers of the pages whose content differs, ascending, page 1 left out. */
  readonly different: Uint32Array;
  /** As it will be written. */
  readonly pageOne: Uint8Array;
  /** Header of the database before. */
  readonly header: Uint8Array;
}

/** A growing list of page numbers. */
class PageNumbers {
  #numbers = new Uint32Array(64);
  #length = 0;

  push(pgno: number): void {
    if (this.#length === this.#numbers.length) {
      const larger = new Uint32Array(this.#length * 2);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers[this.#length] = pgno;
    this.#length += 1;
  }

  list(): Uint32Array {
    return this.#numbers.subarray(0, this.#length);
  }
}

/** True if both have the same bytes. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** The database that is going to be changed. */
export interface FollowedFile {
  readonly fileSystem: FileSystem;
  readonly path: string;
  readonly file: OpenFile;
  /** Permissions of the database, for its journal. */
  readonly mode: number;
}

/** The state before the change. */
export interface FollowedState {
  /** Of the database. */
  readonly header: Uint8Array;
  readonly pageCount: number;
}

interface Known {
  readonly pageSize: number;
  /** Of the database before. */
  readonly pageCount: number;
  readonly journal: FollowerJournal;
}

/** Finds out what a transaction changes, before any lock is taken. */
export class ChangeFinder {
  readonly #followed: FollowedFile;

  constructor(followed: FollowedFile) {
    this.#followed = followed;
  }

  /** Reads all pages once, keeps what they replace in the journal, and finds out which ones differ. */
  async prepare(
    pages: FollowedPages,
    before: FollowedState,
    signal: AbortSignal,
  ): Promise<FollowerChange> {
    const { fileSystem, mode, path } = this.#followed;
    const { header, pageCount } = before;
    const { pageSize, commit } = pages;
    const oldOne = pageCount === 0 ? undefined : await this.#readPages(1, 1, pageSize);
    const changeCounter = ((parseDatabaseHeader(header)?.changeCounter ?? 0) + 1) >>> 0;
    const journalPath = `${path}-journal`;
    const isNew = (await fileSystem.stat('follow:journal-stat', journalPath)) === undefined;
    const shape = { pageSize, pageCount, nonce: changeCounter, mode };
    const journal = await FollowerJournal.create(fileSystem, journalPath, shape);
    try {
      if (oldOne !== undefined) await journal.add(1, oldOne);
      const numbers = new PageNumbers();
      let pageOne = oldOne?.slice();
      for await (const run of pages.pages()) {
        throwIfAborted(signal);
        if (run.pgno === 1) pageOne = run.data.slice(0, pageSize);
        await this.#compare(run, { pageSize, pageCount, journal, numbers });
      }
      await this.#keepRest(commit + 1, { pageSize, pageCount, journal });
      await journal.complete();
      if (isNew) await fileSystem.syncDirectory('follow:journal-folder', dirname(path));
      assert(pageOne !== undefined, 'the first transaction of a database has page 1');
      stampFollowedPage(pageOne, { changeCounter, pageCount: commit });
      return { pages, journal, different: numbers.list(), pageOne, header };
    } catch (error) {
      await journal.close();
      throw error;
    }
  }

  async #compare(run: PageRun, known: Known & { readonly numbers: PageNumbers }): Promise<void> {
    const { pageSize, pageCount, journal, numbers } = known;
    const count = run.data.length / pageSize;
    const inside = Math.max(0, Math.min(count, pageCount + 1 - run.pgno));
    const old = await this.#readPages(run.pgno, inside, pageSize);
    for (let index = 0; index < count; index += 1) {
      const pgno = run.pgno + index;
      if (pgno === 1) continue;
      const [from, to] = [index * pageSize, (index + 1) * pageSize];
      const isInside = index < inside;
      if (isInside && equal(old.subarray(from, to), run.data.subarray(from, to))) continue;
      numbers.push(pgno);
      if (isInside) await journal.add(pgno, old.subarray(from, to));
    }
  }

  /** Keeps the pages that a shrinking database loses. */
  async #keepRest(first: number, { pageSize, pageCount, journal }: Known): Promise<void> {
    const step = Math.max(1, Math.floor(COPY_BYTES / pageSize));
    const lock = lockPgno(pageSize);
    for (let pgno = first; pgno <= pageCount; pgno += step) {
      const count = Math.min(step, pageCount + 1 - pgno);
      const old = await this.#readPages(pgno, count, pageSize);
      for (let index = 0; index < count; index += 1) {
        if (pgno + index === lock) continue;
        await journal.add(pgno + index, old.subarray(index * pageSize, (index + 1) * pageSize));
      }
    }
  }

  async #readPages(pgno: number, count: number, pageSize: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count * pageSize);
    const { file } = this.#followed;
    if (count > 0) await file.read('follow:read', bytes, (pgno - 1) * pageSize);
    return bytes;
  }
}
