import type { PageOwners } from './page-owners.ts';

/** One call with more makes the kernel spend two to three times the processor time. Spec: performance 8. */
export const WRITE_BYTES: number = 128 * 1024;
/** Superseded pages of the first file that may be written to join two writes. */
const BRIDGE_PAGES = 32;

/** Decoded pages of a run that lie side by side in the database, too. */
export interface WriteSpan {
  /** Number of the first page in the run. */
  readonly from: number;
  /** Behind the last one. */
  readonly to: number;
  /** Bytes from the start of the database. */
  readonly position: number;
}

/** A decoded run. */
export interface SpanOptions {
  readonly owners: PageOwners;
  readonly pageSize: number;
  /** Number of the file in the plan. */
  readonly file: number;
  readonly pages: number;
  readonly pgnoAt: (page: number) => number;
  /** Most bytes of one span. Default {@link WRITE_BYTES}. */
  readonly bytesMax?: number | undefined;
}

/**
 * What to write of a run: the pages whose newest version it holds, page 1 left out. Superseded pages of the first file of the
 * plan are written where that joins two writes; the other files' pages must therefore be written after all of the first
 * file's.
 */
export function writeSpans(options: SpanOptions): WriteSpan[] {
  const { owners, pageSize, file, pages, pgnoAt, bytesMax = WRITE_BYTES } = options;
  const bridge = file === 0 ? BRIDGE_PAGES : 0;
  const step = Math.max(1, Math.floor(bytesMax / pageSize));
  const spans: WriteSpan[] = [];
  let from = -1;
  let last = -1;
  const flush = (): void => {
    if (from < 0) return;
    const origin = pgnoAt(from) - from - 1;
    for (let at = from; at <= last; at += step) {
      spans.push({
        from: at,
        to: Math.min(at + step, last + 1),
        position: (origin + at) * pageSize,
      });
    }
  };
  for (let page = 0; page < pages; page += 1) {
    const pgno = pgnoAt(page);
    if (pgno === 1 || !owners.isNewest(file, pgno)) continue;
    // Page numbers that continue leave no page of the database out between the two, not even the lock page.
    const joined = from >= 0 && page - last - 1 <= bridge && pgno - pgnoAt(last) === page - last;
    if (!joined) {
      flush();
      from = page;
    }
    last = page;
  }
  flush();
  return spans;
}
