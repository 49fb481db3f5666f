import type { FileInfo } from '../../../../src/storage/index.ts';

const SNAPSHOT_LEVEL = 9;

/** TXIDs that these files lead to, beginning with nothing: the simplest possible search. */
export function reachable(files: readonly FileInfo[]): Set<bigint> {
  const reached = new Set<bigint>();
  const increments = files
    .filter(({ level }) => level !== SNAPSHOT_LEVEL)
    .toSorted((a, b) => (a.maxTxid < b.maxTxid ? -1 : a.maxTxid > b.maxTxid ? 1 : 0));
  for (const { level, maxTxid, minTxid } of files) {
    if (level === SNAPSHOT_LEVEL && minTxid === 1n) reached.add(maxTxid);
  }
  // Ascending ends: a file leads on from every state between its begin and its end.
  let ends = [0n, ...reached].toSorted(ascending);
  for (const { maxTxid, minTxid } of increments) {
    if (!ends.some((end) => end + 1n >= minTxid && end <= maxTxid) || reached.has(maxTxid))
      continue;
    reached.add(maxTxid);
    ends = [...ends, maxTxid];
  }
  return reached;
}

export function ascending(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The greatest of some TXIDs; 0 without one. */
export function greatest(txids: Iterable<bigint>): bigint {
  let found = 0n;
  for (const txid of txids) if (txid > found) found = txid;
  return found;
}
