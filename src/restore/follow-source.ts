import { formatTxid, toTxid, type Txid } from '../formats/ltx/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { CallOptions, FileInfo, ReplicaClient } from '../storage/index.ts';
import { chooseSnapshot, follow, listAll, type Listing, SNAPSHOT_LEVEL } from './plan.ts';

/** What a replica has for a follower. */
export interface Continuation {
  /** Increments that lead on from the follower's state, in order; none if there is nothing new, or a hole. */
  readonly files: readonly FileInfo[];
  /** Newest TXID of any file that was looked at. */
  readonly newest: bigint;
  /** The nearest file behind a hole. */
  readonly next: FileInfo | undefined;
  /** The newest snapshot that goes beyond the follower's state. */
  readonly snapshot: FileInfo | undefined;
}

function newestTxid(files: readonly FileInfo[]): bigint {
  return files.reduce((newest, { maxTxid }) => (maxTxid > newest ? maxTxid : newest), 0n);
}

/** What leads on from the state `txid`, chosen from complete listings. Pure. */
export function continuation(listing: Listing, txid: Txid): Continuation {
  const { files, next } = follow(txid, listing.slice(0, SNAPSHOT_LEVEL).flat());
  const snapshot = chooseSnapshot(listing.flat());
  return {
    files,
    newest: newestTxid(listing.flat()),
    next,
    snapshot: snapshot !== undefined && snapshot.maxTxid > txid ? snapshot : undefined,
  };
}

/** One look at level 0 behind the state `txid`, as cheap as a look can be. */
export async function lookAtLevel0(
  client: ReplicaClient,
  txid: Txid,
  { signal }: CallOptions,
): Promise<Continuation> {
  const listed: FileInfo[] = [];
  for await (const file of client.list(0, { seek: toTxid(txid + 1n), signal })) listed.push(file);
  return continuation([listed], txid);
}

/**
 * A look at every level. From the lowest up, because a compaction's output exists before its inputs are deleted: nothing is
 * missed that way.
 */
export async function lookEverywhere(
  client: ReplicaClient,
  txid: Txid,
  { signal }: CallOptions,
): Promise<Continuation> {
  const listing = await listAll(client, { accurateTimes: false, signal, parallel: 1 });
  return continuation(listing, txid);
}

/** What a follower says that can go on neither by increments nor by a snapshot. */
export function stalled(txid: Txid, { newest, next }: Continuation): LitestreamError {
  const found =
    next === undefined
      ? `the replica is at ${formatTxid(toTxid(newest))} but no file continues`
      : `next file starts at ${formatTxid(next.minTxid)}`;
  return new LitestreamError(
    'ERR_TX_GAP',
    `follow mode has stalled: non-contiguous ltx files: have up to ${formatTxid(txid)} but ${found}`,
    {
      retryable: true,
      details: { reached: txid, newest, ...(next === undefined ? {} : { next: next.minTxid }) },
    },
  );
}

/**
 * Refuses to go on from a bookmark that the replica cannot lead on from: it is behind everything there is, or ahead of it.
 *
 * Spec: replication 23.6 (W-12), failures VFS-04.
 *
 * @throws LitestreamError `ERR_OUTPUT_EXISTS`
 */
export function checkBookmark(txid: Txid, found: Continuation, outputPath: string): void {
  const { newest, files, next, snapshot } = found;
  const saved = `cannot resume follow mode: saved TXID ${formatTxid(txid)}`;
  const remedy = `delete ${outputPath} and ${outputPath}-txid to re-restore`;
  if (txid > newest) {
    throw new LitestreamError(
      'ERR_OUTPUT_EXISTS',
      `${saved} is ahead of latest snapshot (max TXID ${formatTxid(toTxid(newest))}); ${remedy}`,
      { details: { txid, newest } },
    );
  }
  if (txid === newest || files.length > 0 || snapshot !== undefined || next === undefined) return;
  throw new LitestreamError(
    'ERR_OUTPUT_EXISTS',
    `${saved} is behind the earliest snapshot (min TXID ${formatTxid(next.minTxid)}); ` +
      `replica history has been pruned -- ${remedy}`,
    { details: { txid, next: next.minTxid } },
  );
}
