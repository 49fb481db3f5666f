import type { Txid } from '../formats/ltx/index.ts';
import type { FileInfo } from '../storage/index.ts';
import { previousBoundary } from './boundary.ts';

/** TXIDs that no file of a level holds, although files behind them exist. */
export interface LevelGap {
  /** The level in which files are missing. */
  readonly level: number;
  /** First missing TXID. */
  readonly from: bigint;
  /** Last missing TXID. */
  readonly to: bigint;
}

/** Files that continue one another. */
export interface Chain {
  readonly files: readonly FileInfo[];
  /** Last TXID of the chain; the start if it is empty. */
  readonly reached: bigint;
  /** The nearest file behind the gap at which the chain ends. */
  readonly next: FileInfo | undefined;
}

function ascending(a: FileInfo, b: FileInfo): number {
  if (a.minTxid !== b.minTxid) return a.minTxid < b.minTxid ? -1 : 1;
  return a.maxTxid < b.maxTxid ? -1 : a.maxTxid > b.maxTxid ? 1 : 0;
}

/** True if `a` takes a chain further than `b`, or as far with fewer pages repeated. */
function isBetter(a: FileInfo, b: FileInfo): boolean {
  if (a.maxTxid !== b.maxTxid) return a.maxTxid > b.maxTxid;
  return a.minTxid > b.minTxid;
}

/**
 * From the state `after` on, always the file that reaches furthest. Files that others cover are left out, so that leftovers of a
 * failed upload do no harm. Spec: formats 2.20, failures CMP-04.
 */
export function chainFrom(after: bigint, files: readonly FileInfo[]): Chain {
  const sorted = files.toSorted(ascending);
  const chosen: FileInfo[] = [];
  let reached = after;
  let best: FileInfo | undefined;
  let at = 0;
  for (;;) {
    for (; at < sorted.length; at++) {
      const file = sorted[at];
      if (file === undefined || file.minTxid > reached + 1n) break;
      if (best === undefined || isBetter(file, best)) best = file;
    }
    if (best === undefined || best.maxTxid <= reached) {
      return { files: chosen, reached, next: sorted[at] };
    }
    chosen.push(best);
    reached = best.maxTxid;
  }
}

/** What {@link chooseInputs} decides from. */
export interface InputChoice {
  /** Files of the source level, at least those that end behind `after`. */
  readonly files: readonly FileInfo[];
  readonly sourceLevel: number;
  /** Last TXID of the destination; 0 if it is empty. */
  readonly after: bigint;
  /** Everything up to here can be restored without the destination: a gap that ends before may be passed over. */
  readonly covered: bigint;
  /** The source is known to reach so far; 0 = not known. */
  readonly expected: bigint;
}

/** The files of one compaction, and the first gap that it meets. */
export interface Inputs {
  readonly files: readonly FileInfo[];
  readonly gap: LevelGap | undefined;
}

/** Chooses the inputs of one compaction: contiguous, from the destination's end on, up to the first gap. Pure. */
export function chooseInputs(choice: InputChoice): Inputs {
  const { after, covered, expected, sourceLevel } = choice;
  const files = choice.files.filter((file) => file.maxTxid > after);
  let chain = chainFrom(after, files);
  const first = chain.next;
  if (chain.files.length === 0 && first !== undefined && first.minTxid - 1n <= covered) {
    chain = chainFrom(first.minTxid - 1n, files);
  }
  const { reached, next } = chain;
  const end = next === undefined ? expected : next.minTxid - 1n;
  const gap = end > reached ? { level: sourceLevel, from: reached + 1n, to: end } : undefined;
  // What a snapshot covers need not be there.
  const harmless = gap !== undefined && next !== undefined && gap.to <= covered;
  return { files: chain.files, gap: harmless ? undefined : gap };
}

/**
 * Cuts the inputs of one pass by the intervals in which they were created, so that a pass that comes late does not make the restore
 * points of a whole outage into one. What was created since the last boundary joins the interval before it. Pure.
 *
 * Spec: failures CMP-01.
 */
export function groupByInterval(
  files: readonly FileInfo[],
  intervalMs: number,
  nowMs: number,
): FileInfo[][] {
  const current = previousBoundary(nowMs, intervalMs);
  const groups: FileInfo[][] = [];
  let window = 0;
  for (const file of files) {
    const group = groups.at(-1);
    const own = Math.min(current, previousBoundary(file.createdAt, intervalMs));
    const joins = own <= window || (own === current && window === current - intervalMs);
    if (group !== undefined && joins) {
      group.push(file);
      continue;
    }
    groups.push([file]);
    window = own;
  }
  return groups;
}

/** Ranges of TXIDs that files cover, touching ones joined, ascending. */
export function coverage(files: readonly FileInfo[]): { from: bigint; to: bigint }[] {
  const ranges: { from: bigint; to: bigint }[] = [];
  for (const { minTxid, maxTxid } of files.toSorted(ascending)) {
    const last = ranges.at(-1);
    if (last === undefined || minTxid > last.to + 1n) ranges.push({ from: minTxid, to: maxTxid });
    else if (maxTxid > last.to) last.to = maxTxid;
  }
  return ranges;
}

/** True if one of the ranges holds all TXIDs from `minTxid` to `maxTxid`. */
export function covers(
  ranges: readonly { readonly from: bigint; readonly to: bigint }[],
  { minTxid, maxTxid }: { readonly minTxid: bigint; readonly maxTxid: bigint },
): boolean {
  return ranges.some((range) => range.from <= minTxid && maxTxid <= range.to);
}

/**
 * How far a replica can be restored without a gap: from the newest snapshot, else from TXID 1.
 *
 * @param files - of all levels
 */
export function restorableTo(files: readonly FileInfo[], snapshotLevel: number): bigint {
  let start: bigint = 0n;
  const isSnapshot = (file: FileInfo): boolean => file.level === snapshotLevel;
  for (const file of files) {
    if (isSnapshot(file) && file.minTxid === 1n && file.maxTxid > start) start = file.maxTxid;
  }
  return chainFrom(
    start,
    files.filter((file) => !isSnapshot(file)),
  ).reached;
}

/** The newest of a level's files, by where it ends. */
export function newestOf(files: readonly FileInfo[]): FileInfo | undefined {
  let newest: FileInfo | undefined;
  for (const file of files) {
    if (newest === undefined || file.maxTxid >= newest.maxTxid) newest = file;
  }
  return newest;
}

/** For options that take a TXID which may be absent. */
export function endOf(file: Pick<FileInfo, 'maxTxid'> | undefined): Txid | 0n {
  return file?.maxTxid ?? 0n;
}
