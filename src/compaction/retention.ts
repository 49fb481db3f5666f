import type { FileInfo } from '../storage/index.ts';
import { coverage, covers } from './chain.ts';

/** A round that deletes a larger share of a level than this wants to be confirmed by the next round. */
const MASS_SHARE = 0.9;
const MASS_FILES = 10;

/** What {@link planLevel0Retention} decides from; all listings ascending. */
export interface Level0Retention {
  readonly level0: readonly FileInfo[];
  readonly level1: readonly FileInfo[];
  /** Files created later stay. Milliseconds since the Unix epoch. */
  readonly cutoffMs: number;
  /** End of the last expired snapshot: files that end before are of no use any more. 0 = none. */
  readonly floor: bigint;
  /** What lies behind was uploaded not long ago, however old its transactions are: it counts as created later. Default: nothing. */
  readonly settled?: bigint | undefined;
}

/** Which level-0 files may go, and how many of the others stay for which reason. */
export interface Level0Plan {
  /** From the oldest on, without a gap. */
  readonly deletions: readonly FileInfo[];
  readonly notCompacted: number;
  readonly tooRecent: number;
}

/**
 * Files of level 0 that level 1 holds and that are old enough. The newest one always stays, and what goes is a prefix of the level: no
 * hole appears in it. Pure.
 *
 * Spec: replication 18.1, failures CMP-01.
 */
export function planLevel0Retention(input: Level0Retention): Level0Plan {
  const { level0, cutoffMs, floor, settled } = input;
  const compacted = coverage(input.level1);
  const deletions: FileInfo[] = [];
  let notCompacted = 0;
  let tooRecent = 0;
  let ended = false;
  const newest = level0.at(-1);
  for (const file of level0) {
    const late = settled !== undefined && file.maxTxid > settled;
    const recent = late || file.createdAt > cutoffMs;
    const needed = file.maxTxid >= floor && !covers(compacted, file);
    if (recent) tooRecent++;
    else if (needed) notCompacted++;
    ended ||= recent || needed || file === newest;
    if (!ended) deletions.push(file);
  }
  return { deletions, notCompacted, tooRecent };
}

/** Which snapshots have expired. */
export interface SnapshotPlan {
  readonly deletions: readonly FileInfo[];
  /** End of the newest snapshot that goes; 0 if none does. Files of lower levels that end before may go, too. */
  readonly floor: bigint;
}

/**
 * Snapshots that nobody needs: older than the cutoff, except the newest of those. With that one every instant since the cutoff can be
 * restored, and at least one snapshot always remains. Files that do not begin at TXID 1 are left alone. Pure.
 *
 * Spec: replication 18.2, failures CMP-01, CMP-02, CMP-12.
 */
export function planSnapshotRetention(
  snapshots: readonly FileInfo[],
  cutoffMs: number,
): SnapshotPlan {
  const usable = snapshots.filter((file) => file.minTxid === 1n);
  const kept = usable.findLastIndex((file) => file.createdAt < cutoffMs);
  const deletions = kept < 0 ? [] : usable.slice(0, kept).filter(isOlder(cutoffMs));
  return { deletions, floor: deletions.at(-1)?.maxTxid ?? 0n };
}

function isOlder(cutoffMs: number): (file: FileInfo) => boolean {
  return (file) => file.createdAt < cutoffMs;
}

/**
 * Files of a level between 0 and the snapshots that end before the floor; the newest one stays. Pure.
 *
 * Spec: replication 18.2.
 */
export function planLevelRetention(files: readonly FileInfo[], floor: bigint): FileInfo[] {
  return files.slice(0, -1).filter((file) => file.maxTxid < floor);
}

/** True if so much of a level would go at once that a wrong clock is likely. Spec: failures CMP-12. */
export function isMassDeletion(deletions: number, files: number): boolean {
  return files >= MASS_FILES && deletions > files * MASS_SHARE;
}
