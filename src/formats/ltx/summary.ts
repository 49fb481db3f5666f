import type { LtxHeader } from './header.ts';
import type { PageIndex } from './page-index.ts';
import type { LtxTrailer } from './trailer.ts';

/** What is known of a file that was read or written to its end. */
export interface LtxSummary {
  readonly header: LtxHeader;
  readonly trailer: LtxTrailer;
  readonly pageCount: number;
  /** Bytes of the file. */
  readonly size: number;
  /** Only if it was asked for. */
  readonly index?: PageIndex;
}
