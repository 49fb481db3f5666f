import { formatTxid, type Txid } from '../formats/ltx/index.ts';
import { type Clock, throwIfAborted, yieldToLoop } from '../lib/clock.ts';
import type { FileSystem } from '../lib/file-system.ts';
import { lockPgno } from '../lib/page.ts';
import { PageDifference } from './level-window.ts';
import { BATCH_BYTES, PageSums } from './page-sums.ts';
import type { Finding } from './report.ts';

/** The event loop gets a turn after this long. */
const TURN_MS = 4;
/** Two states of one database that have fewer pages in common than this are taken for two databases. */
const COMMON_MIN = 0.1;

/** The pages of one state of a live database. They stay readable until {@link release}. */
export interface SourcePages {
  /** TXID of this very state; undefined if it is not known. */
  readonly txid: Txid | undefined;
  /** Bytes. */
  readonly pageSize: number;
  /** Pages. */
  readonly commit: number;
  /** Puts pages `first` … `first + count − 1` side by side into `target`; what the lock page holds does not matter. */
  read(first: number, count: number, target: Uint8Array): void;
  /** Must be called, whatever happens, and soon: the database cannot checkpoint meanwhile. */
  release(): void | Promise<void>;
  /** Waits, after the release, until the replica holds the TXID. */
  readonly arrived?: ((signal: AbortSignal | undefined) => Promise<void>) | undefined;
}

/** Where a verification finds the database that a replica should be a copy of. */
export interface VerifySource {
  /** Path of the database, for messages. */
  readonly path: string;
  /**
   * Pins the present state.
   *
   * @returns undefined, or a reason, if there is nothing to compare with
   * @throws LitestreamError
   */
  pin(signal: AbortSignal | undefined): Promise<SourcePages | string>;
}

/** Checksums of a whole database: index = page number. */
export interface DatabaseSums {
  readonly pageSize: number;
  readonly commit: number;
  readonly sums: BigUint64Array;
}

interface SumContext {
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

async function sumPages(
  { pageSize, commit }: { pageSize: number; commit: number },
  read: (first: number, count: number, target: Uint8Array) => void | Promise<void>,
  { clock, signal }: SumContext,
): Promise<DatabaseSums> {
  const sums = new BigUint64Array(commit + 1);
  const kernel = new PageSums();
  const batch = BATCH_BYTES / pageSize;
  let turn = clock.monotonic();
  try {
    for (let first = 1; first <= commit; first += batch) {
      const count = Math.min(batch, commit - first + 1);
      await read(first, count, kernel.room.subarray(0, count * pageSize));
      kernel.sum(first, count, pageSize, sums);
      if (clock.monotonic() - turn < TURN_MS) continue;
      await yieldToLoop();
      throwIfAborted(signal);
      turn = clock.monotonic();
    }
  } finally {
    kernel.close();
  }
  const lock = lockPgno(pageSize);
  if (lock <= commit) sums[lock] = 0n;
  return { pageSize, commit, sums };
}

/** Checksums of the pinned pages, which are released then. */
export async function sumSource(pages: SourcePages, context: SumContext): Promise<DatabaseSums> {
  try {
    return await sumPages(
      pages,
      (first, count, target) => pages.read(first, count, target),
      context,
    );
  } finally {
    await pages.release();
  }
}

/** Checksums of a database file that nobody has open. */
export async function sumFile(
  fileSystem: FileSystem,
  path: string,
  context: SumContext,
): Promise<DatabaseSums> {
  const file = await fileSystem.open('verify:open', path, 'read');
  try {
    const header = new Uint8Array(100);
    await file.read('verify:read', header, 0);
    const stored = new DataView(header.buffer).getUint16(16);
    const pageSize = stored === 1 ? 65536 : stored;
    const { size } = await file.stat('verify:stat');
    const read = async (first: number, count: number, target: Uint8Array): Promise<void> => {
      await file.read('verify:read', target.subarray(0, count * pageSize), (first - 1) * pageSize);
    };
    const commit = pageSize === 0 ? 0 : Math.floor(size / pageSize);
    return await sumPages({ pageSize, commit }, read, context);
  } finally {
    await file.close();
  }
}

/** What a comparison of a restored database with its source says. */
export interface Comparison {
  readonly sourcePath: string;
  /** The source's TXID, if it was pinned at one. */
  readonly pinned: Txid | undefined;
  readonly restored: DatabaseSums;
  readonly source: DatabaseSums;
}

function compareSums(a: DatabaseSums, b: DatabaseSums): PageDifference {
  const difference = new PageDifference();
  const commit = Math.max(a.commit, b.commit);
  for (let pgno = 1; pgno <= commit; pgno++) {
    if (a.sums[pgno] !== b.sums[pgno]) difference.add(pgno);
  }
  return difference;
}

/** Undefined if the two are equal. */
export function compareWithSource(comparison: Comparison): Finding | undefined {
  const { pinned, restored, source, sourcePath } = comparison;
  if (restored.pageSize !== source.pageSize) {
    return foreign(
      comparison,
      `its pages have ${restored.pageSize} bytes, those of ${sourcePath} ${source.pageSize}`,
    );
  }
  const difference = compareSums(restored, source);
  if (difference.count === 0) return undefined;
  const smaller = Math.min(restored.commit, source.commit);
  const common = Math.max(restored.commit, source.commit) - difference.count;
  const what = `${difference.text} of ${source.commit}`;
  if (common < smaller * COMMON_MIN && smaller > 1) {
    return foreign(comparison, `it differs from ${sourcePath} in ${what}`);
  }
  if (pinned !== undefined) {
    return {
      kind: 'source-differs',
      severity: 'damage',
      message: `at TXID ${formatTxid(pinned)} the replica differs from ${sourcePath} in ${what}`,
      affected: { from: pinned, to: pinned },
      remedy:
        'write a new snapshot: stop the daemon, remove the metadata folder with litestream reset, and start it again',
    };
  }
  return {
    kind: 'source-unproven',
    severity: 'warning',
    message: `the replica differs from ${sourcePath} in ${what}; the source may have changed since the last sync`,
    remedy: 'run litestream replicate -once, or verify while the daemon runs',
  };
}

function foreign({ sourcePath }: Comparison, why: string): Finding {
  return {
    kind: 'foreign',
    severity: 'damage',
    message: `the replica seems to be of another database than ${sourcePath}: ${why}`,
    remedy: `check path, bucket and prefix of the replica in the configuration of ${sourcePath}`,
  };
}
