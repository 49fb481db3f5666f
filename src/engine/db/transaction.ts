import type { PageSource } from '../../codec/index.ts';
import { lockPgno } from '../../lib/page.ts';
import type { FrameReader, PageBatch } from './page-batch.ts';

/** The part of the WAL that a transaction file stands for. */
export interface WalRange {
  /** Bytes from the start of the WAL; at least 32. */
  readonly offset: number;
  /** Bytes; may be 0. */
  readonly size: number;
  readonly salt1: number;
  readonly salt2: number;
}

/**
 * A frozen set of committed pages on its way into one LTX file. Nothing is added any more; images may still be in the
 * WAL or the database file, and are needed until the file is durable: a failed file is written again.
 */
export interface Transaction {
  /** Every page of the database, and why; undefined for an increment. */
  readonly full: FullReason | undefined;
  /** Database size in pages. */
  readonly commit: number;
  readonly range: WalRange;
  /** The smallest page number above `pgno` that the file holds; 0 if there is none. */
  next(pgno: number): number;
  /** Puts the page's image into `target`. */
  read(pgno: number, target: Uint8Array): void;
  /** All pages of the database at once; undefined for an increment. */
  readonly pages: PageSource | undefined;
  /** Bytes of memory that {@link gather} would need on top of what is in memory; Infinity if it cannot be done. */
  readonly gatherBytes: number;
  /** Copies what is still in the WAL to memory. False if that is impossible (a full transaction). */
  gather(): boolean;
}

/** Why a full transaction is written. */
export interface FullReason {
  /** The `reason` in the log; empty for the first transaction of a history. */
  readonly reason: string;
  /** `warn` if something was lost or replaced, `info` if continuity is merely unproven. */
  readonly level: 'info' | 'warn';
  /** The file has another page size than those before it, and cannot be merged with them. */
  readonly breaksHistory?: boolean;
}

/** Reads a page from the database file. */
export type ReadPage = (pgno: number, target: Uint8Array) => void;

/** The database file, for reading. */
export interface DatabasePages {
  /** Reads as many adjacent pages as `target` holds. */
  readPage(pgno: number, target: Uint8Array): void;
  /** @throws once the file is closed */
  descriptor(): number;
}

export interface IncrementInit {
  readonly batch: PageBatch;
  readonly reader: FrameReader;
  readonly readPage: ReadPage;
  readonly commit: number;
  /** Database size in pages after the transaction before. */
  readonly previousCommit: number;
  readonly range: WalRange;
}

/**
 * The pages of a batch, and those by which the database grew without a frame for them (they reached the database file
 * through a checkpoint): without these a later merge would have a hole. Spec: replication 11, failures CAP-02.
 */
export function increment(init: IncrementInit): Transaction {
  const { batch, reader, commit, previousCommit } = init;
  const pages = batch.sortedPages(commit);
  const lock = lockPgno(batch.pageSize);
  let at = 0;
  const transaction: Transaction = {
    full: undefined,
    pages: undefined,
    commit,
    range: init.range,
    get gatherBytes() {
      return batch.inWal * batch.pageSize;
    },
    next(pgno) {
      while (at > 0 && (pages[at - 1] ?? 0) > pgno) at--;
      while (at < pages.length && (pages[at] ?? 0) <= pgno) at++;
      const captured = pages[at] ?? 0;
      let grown = Math.max(pgno, previousCommit) + 1;
      if (grown === lock) grown++;
      if (grown <= commit && (captured === 0 || grown < captured)) return grown;
      return captured;
    },
    read(pgno, target) {
      if (batch.has(pgno)) batch.read(pgno, target, reader);
      else init.readPage(pgno, target);
    },
    gather() {
      batch.gather(reader);
      return true;
    },
  };
  return transaction;
}

export interface FullInit {
  /** Newest committed version of every page that is in the WAL. */
  readonly batch: PageBatch;
  readonly reader: FrameReader;
  readonly file: DatabasePages;
  readonly commit: number;
  readonly range: WalRange;
  readonly reason: FullReason;
}

/** Every page of the database: from the WAL if it is there, else from the database file. */
export function fullTransaction(init: FullInit): Transaction {
  const { batch, reader, commit, file } = init;
  const lock = lockPgno(batch.pageSize);
  return {
    full: init.reason,
    pages: pagesOf(init),
    commit,
    range: init.range,
    gatherBytes: Infinity,
    next(pgno) {
      const page = pgno + 1 === lock ? lock + 1 : pgno + 1;
      return page <= commit ? page : 0;
    },
    read(pgno, target) {
      if (batch.has(pgno)) batch.read(pgno, target, reader);
      else file.readPage(pgno, target);
    },
    gather: () => false,
  };
}

function pagesOf({ batch, reader, commit, file }: FullInit): PageSource {
  const { pageSize } = batch;
  const lock = lockPgno(pageSize);
  return {
    commit,
    descriptor: () => file.descriptor(),
    isInFile: (pgno) => !batch.has(pgno),
    read(first, count, target) {
      const part = (from: number, to: number): Uint8Array =>
        target.subarray(from * pageSize, to * pageSize);
      let from = 0;
      for (let at = 0; at <= count; at++) {
        const captured = batch.has(first + at);
        // The file may end before the lock page, and need not hold what is captured.
        if (at < count && !captured && first + at !== lock) continue;
        if (at > from) file.readPage(first + from, part(from, at));
        if (at < count && captured) batch.read(first + at, part(at, at + 1), reader);
        from = at + 1;
      }
    },
  };
}
