import { formatTxid, NO_TXID, toTxid, type Txid } from '../formats/ltx/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { CallOptions, FileInfo, ReplicaClient } from '../storage/index.ts';

/** What to restore; without a member the latest state. At most one of the two. */
export interface RestoreTarget {
  /** Up to and including this TXID, which some file must end at. */
  readonly txid?: Txid | undefined;
  /** Only files created strictly before this time. Milliseconds since the Unix epoch. */
  readonly timestampMs?: number | undefined;
}

/** Files that together hold the state, oldest first. The first starts at TXID 1; neighbours touch or overlap. */
export interface RestorePlan {
  readonly files: readonly FileInfo[];
  readonly minTxid: Txid;
  /** The state that the restore gives. */
  readonly maxTxid: Txid;
  /** The last TXID that any file of the replica ends at. */
  readonly newestTxid: Txid;
}

/** Oldest and newest creation time, milliseconds since the Unix epoch. */
export interface TimeBounds {
  readonly oldestMs: number;
  readonly newestMs: number;
}

export const SNAPSHOT_LEVEL = 9;
export const LEVEL_COUNT = 10;
export const LISTINGS_AT_ONCE = 5;

/** Every level's files, index = level. */
export type Listing = readonly (readonly FileInfo[])[];

/** True if `a` should be chosen before `b`. Spec: replication 23.3 step 2. */
function isBetter(a: FileInfo, b: FileInfo): boolean {
  if (a.maxTxid !== b.maxTxid) return a.maxTxid > b.maxTxid;
  if (a.minTxid !== b.minTxid) return a.minTxid < b.minTxid;
  if (a.level !== b.level) return a.level > b.level;
  return a.createdAt < b.createdAt;
}

/** Sorts what should be chosen first to the front. */
export function byPreference(a: FileInfo, b: FileInfo): number {
  return isBetter(a, b) ? -1 : isBetter(b, a) ? 1 : 0;
}

function isEligible(file: FileInfo, target: RestoreTarget): boolean {
  if (target.txid !== undefined && file.maxTxid > target.txid) return false;
  return target.timestampMs === undefined || file.createdAt < target.timestampMs;
}

/** The newest usable snapshot. One that does not start at TXID 1 is no snapshot. */
export function chooseSnapshot(files: readonly FileInfo[]): FileInfo | undefined {
  let chosen: FileInfo | undefined;
  for (const file of files) {
    if (file.level !== SNAPSHOT_LEVEL || file.minTxid !== 1n) continue;
    if (chosen === undefined || isBetter(file, chosen)) chosen = file;
  }
  return chosen;
}

function byMinTxid(a: FileInfo, b: FileInfo): number {
  return a.minTxid < b.minTxid ? -1 : a.minTxid > b.minTxid ? 1 : 0;
}

/** Increments that follow one another. */
export interface Chain {
  readonly files: readonly FileInfo[];
  /** Last TXID of the chain. */
  readonly reached: bigint;
  /** The nearest file behind the gap where the chain ended. */
  readonly next: FileInfo | undefined;
}

/** From the state `start` on, always the file that reaches furthest. */
export function follow(start: bigint, increments: readonly FileInfo[]): Chain {
  const sorted = increments.toSorted(byMinTxid);
  const files: FileInfo[] = [];
  let reached = start;
  let best: FileInfo | undefined;
  let at = 0;
  for (;;) {
    for (; at < sorted.length; at += 1) {
      const file = sorted[at];
      if (file === undefined || file.minTxid > reached + 1n) break;
      if (best === undefined || isBetter(file, best)) best = file;
    }
    if (best === undefined || best.maxTxid <= reached) return { files, reached, next: sorted[at] };
    files.push(best);
    reached = best.maxTxid;
  }
}

function notAvailable(target: RestoreTarget, reached: bigint, listing: Listing): LitestreamError {
  const bounds = listingBounds(listing);
  const details = { ...target, reached, ...bounds };
  return new LitestreamError('ERR_TX_NOT_AVAILABLE', 'transaction not available', { details });
}

function gap(reached: Txid, next: FileInfo): LitestreamError {
  return new LitestreamError(
    'ERR_TX_GAP',
    `non-contiguous ltx files: have up to ${formatTxid(reached)} but next file starts at ${formatTxid(next.minTxid)}`,
    {
      details: { reached, next: next.minTxid, level: next.level },
      hint: `restore the state in front of the gap with -txid ${formatTxid(reached)}`,
    },
  );
}

/**
 * True if TXIDs between the chain's end and the next file are lost. With a time, files may lie behind the chain's end
 * although nothing is lost: the TXIDs between are inside a compacted file that is newer than the target.
 */
function isHole(chain: Chain, listing: Listing, target: RestoreTarget): boolean {
  if (chain.next === undefined || target.txid !== undefined) return false;
  if (target.timestampMs === undefined) return true;
  if (chain.reached === 0n) return false;
  const ofAnyTime = follow(chain.reached, listing.slice(0, SNAPSHOT_LEVEL).flat());
  return ofAnyTime.reached + 1n < chain.next.minTxid;
}

/**
 * Chooses the files of a restore from a complete listing. Pure.
 *
 * The newest snapshot first, then always the file that reaches furthest. Spec: replication 23.3, with W-11: a restore to a
 * time does not stop silently in front of a hole that files older than the target lie behind.
 *
 * @throws LitestreamError `ERR_TX_NOT_AVAILABLE` if the target cannot be reached exactly, `ERR_TX_GAP` if files lie behind a hole.
 */
export function choosePlan(listing: Listing, target: RestoreTarget): RestorePlan {
  if (target.txid !== undefined && target.timestampMs !== undefined) {
    throw new LitestreamError('ERR_USAGE', 'cannot specify index & timestamp to restore');
  }
  const eligible = listing.flat().filter((file) => isEligible(file, target));
  const snapshot = chooseSnapshot(eligible);
  const increments = eligible.filter((file) => file.level !== SNAPSHOT_LEVEL);
  const chain = follow(snapshot?.maxTxid ?? 0n, increments);
  const files = snapshot === undefined ? chain.files : [snapshot, ...chain.files];
  const maxTxid = toTxid(chain.reached);
  if (chain.next !== undefined && isHole(chain, listing, target)) throw gap(maxTxid, chain.next);
  if (files.length === 0 || (target.txid !== undefined && maxTxid !== target.txid)) {
    throw notAvailable(target, maxTxid, listing);
  }
  return planOf(files, listing);
}

/** The plan to restore these files, at least one, chosen from a listing. */
export function planOf(files: readonly FileInfo[], listing: Listing): RestorePlan {
  return {
    files,
    minTxid: files[0]?.minTxid ?? NO_TXID,
    maxTxid: files.at(-1)?.maxTxid ?? NO_TXID,
    newestTxid: newestTxid(listing),
  };
}

function newestTxid(listing: Listing): Txid {
  let newest = NO_TXID;
  for (const files of listing)
    for (const { maxTxid } of files) if (maxTxid > newest) newest = maxTxid;
  return newest;
}

/** Oldest and newest creation time of a listing, undefined when it is empty. */
export function listingBounds(listing: Listing): TimeBounds | undefined {
  let oldestMs = Infinity;
  let newestMs = -Infinity;
  for (const files of listing) {
    for (const { createdAt } of files) {
      if (createdAt < oldestMs) oldestMs = createdAt;
      if (createdAt > newestMs) newestMs = createdAt;
    }
  }
  return newestMs < oldestMs ? undefined : { oldestMs, newestMs };
}

interface ListingOptions extends CallOptions {
  readonly accurateTimes: boolean;
  /** Levels listed at the same time. */
  readonly parallel: number;
}

/** Lists every level once, lower levels first. */
export async function listAll(client: ReplicaClient, options: ListingOptions): Promise<Listing> {
  const { accurateTimes, signal } = options;
  const listing: FileInfo[][] = Array.from({ length: LEVEL_COUNT }, () => []);
  const levels = listing.entries();
  const work = async (): Promise<void> => {
    for (const [level, files] of levels) {
      for await (const file of client.list(level, { accurateTimes, signal })) files.push(file);
    }
  };
  await Promise.all(Array.from({ length: options.parallel }, work));
  return listing;
}
