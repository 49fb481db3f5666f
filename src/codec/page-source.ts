import type { Clock } from '../lib/clock.ts';

/**
 * All pages of one state of a database. Most of them lie in the database file, the rest comes from elsewhere.
 *
 * The state must stand still until the encoding has ended.
 */
export interface PageSource {
  /** Pages of the database. */
  readonly commit: number;
  /**
   * Descriptor of a file that has page p at (p − 1) · page size. Threads read from it.
   *
   * @throws once the file is closed: the number may belong to another file then
   */
  descriptor(): number;
  /** True if the page is the one in that file. */
  isInFile(pgno: number): boolean;
  /** Puts `count` adjacent pages side by side into `target`, wherever they are. What it does to the lock page's place is undefined. */
  read(first: number, count: number, target: Uint8Array): void;
  /** Called once when no page is needed any more. */
  release?(): void;
}

/** How an encoding shares the thread with others. */
export interface EncodeTurns {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}
