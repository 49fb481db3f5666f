import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import type { FileInfo, ReplicaClient } from '../../storage/index.ts';

const LEVEL_MAX = 9;

/** What the first look at a replica found. */
export interface ReplicaHistory {
  /** Highest TXID over all levels; 0 = the replica is empty. */
  readonly lastTxid: Txid;
  /** Highest TXID above level 0. */
  readonly lastCompacted: Txid;
  /** TXIDs of the level-0 files, ascending. */
  readonly level0: readonly Txid[];
  /** The newest file of each level that has one. */
  readonly newest: ReadonlyMap<number, FileInfo>;
  /** Of each level above 0, the ends of the files that the next level does not cover. */
  readonly waiting: ReadonlyMap<number, readonly Txid[]>;
}

/** Reads a replica's history, by one listing of each level. @throws LitestreamError of the store */
export async function readHistory(
  client: ReplicaClient,
  signal: AbortSignal | undefined,
): Promise<ReplicaHistory> {
  await client.init({ signal });
  const level0: Txid[] = [];
  const ends = new Map<number, Txid[]>();
  const newest = new Map<number, FileInfo>();
  let lastCompacted: Txid = NO_TXID;
  for (let level = 0; level <= LEVEL_MAX; level++) {
    const own: Txid[] = [];
    ends.set(level, own);
    for await (const file of client.list(level, { signal })) {
      if (file.maxTxid >= (newest.get(level)?.maxTxid ?? NO_TXID)) newest.set(level, file);
      if (level === 0) level0.push(file.maxTxid);
      else if (file.maxTxid > lastCompacted) lastCompacted = file.maxTxid;
      if (level > 0) own.push(file.maxTxid);
    }
  }
  const waiting = new Map<number, readonly Txid[]>();
  for (const [level, own] of ends) {
    const end = newest.get(level + 1)?.maxTxid ?? NO_TXID;
    waiting.set(
      level,
      own.filter((txid) => txid > end),
    );
  }
  const last0 = level0.at(-1) ?? NO_TXID;
  const lastTxid = last0 > lastCompacted ? last0 : lastCompacted;
  return { lastTxid, lastCompacted, level0, newest, waiting };
}

/** Which of the database's own files a replica lacks below its newest one: lost objects, to be uploaded again. */
export function findHoles(history: ReplicaHistory, local: readonly Txid[]): Txid[] {
  const present = new Set<bigint>(history.level0);
  return local.filter(
    (txid) => txid > history.lastCompacted && txid < history.lastTxid && !present.has(txid),
  );
}
