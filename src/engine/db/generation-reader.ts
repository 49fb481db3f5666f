import {
  parseWalFrame,
  parseWalHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
} from '../../formats/sqlite/index.ts';
import type { PinnedFile } from '../../sqlite/index.ts';
import { ContinuityLost } from './continuity-lost.ts';
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
  readonly #frame: Uint8Array;
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
    this.#frame = new Uint8Array(WAL_FRAME_HEADER_SIZE + pageSize);
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
      const intact = this.#readIntact(frame, pgno, target);
      if (intact && !this.ended()) return;
      // A reader protects this frame: if it changed all the same, nothing that was captured can be trusted.
      if (this.#state === 'pinned')
        throw new ContinuityLost('wal overwritten over captured frames');
    }
    this.#fallback(pgno, target);
  }

  /** Reads a frame; true if it is whole, and still the one that was captured. */
  #readIntact(frame: number, pgno: number, target: Uint8Array): boolean {
    const size = this.#frame.length;
    const found = this.#wal.read(this.#frame, 0, size, WAL_HEADER_SIZE + frame * size);
    if (found < size) return false;
    const header = parseWalFrame(this.#frame);
    target.set(this.#frame.subarray(WAL_FRAME_HEADER_SIZE));
    return (
      header.pgno === pgno &&
      header.salt1 === this.#salts?.salt1 &&
      header.salt2 === this.#salts.salt2
    );
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
