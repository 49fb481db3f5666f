import {
  parseWalHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
} from '../../formats/sqlite/index.ts';
import type { PinnedFile } from '../../sqlite/index.ts';
import type { FrameReader } from './page-batch.ts';

/** Reads a page from the database file. */
export type PageFallback = (pgno: number, target: Uint8Array) => void;

/**
 * Reads page images from one WAL generation, also if it ends meanwhile.
 *
 * Frames committed after our reader began cannot be overwritten before they were captured. Frames from before can, if
 * the reader began on mark 0: then all of them were already in the database file, and since nobody can move anything
 * newer there while that reader stands, the database file holds exactly these images. So after each read the WAL's salts
 * are compared, and once they changed the database file is read instead. {@link pin} ends the comparison.
 */
export class GenerationReader implements FrameReader {
  readonly #wal: PinnedFile;
  readonly #pageSize: number;
  readonly #salts: { readonly salt1: number; readonly salt2: number } | undefined;
  readonly #fallback: PageFallback;
  readonly #header = new Uint8Array(WAL_HEADER_SIZE);
  #state: 'unpinned' | 'pinned' | 'ended' = 'unpinned';

  constructor(
    wal: PinnedFile,
    pageSize: number,
    salts: { readonly salt1: number; readonly salt2: number } | undefined,
    fallback: PageFallback,
  ) {
    this.#wal = wal;
    this.#pageSize = pageSize;
    this.#salts = salts;
    this.#fallback = fallback;
  }

  /** Every frame that will be asked for is protected by a reader: the generation cannot end before. */
  pin(): void {
    if (this.#state === 'unpinned') this.#state = 'pinned';
  }

  /** True if the generation's frames may already be overwritten. */
  ended(): boolean {
    if (this.#state === 'unpinned' && !this.#current()) this.#state = 'ended';
    return this.#state === 'ended';
  }

  /** Spec: {@link FrameReader}. */
  readFrame(frame: number, pgno: number, target: Uint8Array): void {
    if (this.#state !== 'ended') {
      const frameSize = WAL_FRAME_HEADER_SIZE + this.#pageSize;
      const offset = WAL_HEADER_SIZE + frame * frameSize + WAL_FRAME_HEADER_SIZE;
      const found = this.#wal.read(target, 0, target.length, offset);
      if (found === target.length && !this.ended()) return;
      if (this.#state === 'pinned') this.#wal.readExactly(target, offset);
    }
    this.#fallback(pgno, target);
  }

  #current(): boolean {
    if (this.#wal.read(this.#header, 0, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE) return false;
    const parsed = parseWalHeader(this.#header);
    return (
      parsed.kind === 'ok' &&
      parsed.header.salt1 === this.#salts?.salt1 &&
      parsed.header.salt2 === this.#salts.salt2
    );
  }
}
