import { decodeHeader, formatTxid, type Txid } from '../../formats/ltx/index.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import type { FileInfo, FileKey, ReplicaClient, WriteSource } from '../../storage/index.ts';

/** The error of a replica that somebody else writes to. Nothing of ours has replaced anything there. */
export function writerConflict(client: ReplicaClient, txid: Txid): LitestreamError {
  return new LitestreamError(
    'ERR_WRITER_CONFLICT',
    `another writer: replica ${client.location} holds a different transaction ${formatTxid(txid)}`,
    {
      details: { location: client.location, txid },
      hint: 'two databases or two daemons replicate to this path; give each its own path, or stop the other one and restart',
    },
  );
}

/** Bytes that tell two files of one name apart: the header, with its time, its place in the WAL and its salts. */
const HEADER_BYTES = 100;

export interface HistoryComparison {
  readonly client: ReplicaClient;
  /** TXIDs of the level-0 files there and here, ascending. */
  readonly stored: readonly Txid[];
  readonly local: readonly Txid[];
  readonly headerOf: (txid: Txid) => Promise<Uint8Array>;
  readonly signal: AbortSignal | undefined;
}

/**
 * True unless the replica's newest file that is also here is a different one: then the numbers are the same and the histories
 * are not. Without a common file nothing can be told.
 */
export async function sharesHistory({
  client,
  headerOf,
  local,
  signal,
  stored,
}: HistoryComparison): Promise<boolean> {
  const here = new Set<bigint>(local);
  const common = stored.findLast((txid) => here.has(txid));
  if (common === undefined) return true;
  const key = { level: 0, minTxid: common, maxTxid: common };
  const found = await storedHeader(client, key, signal);
  return found === undefined || Buffer.compare(await headerOf(common), found) === 0;
}

/**
 * True unless the replica's newest level-0 file ends with another transaction than the merged local file that ends with the same number.
 * A merged file has the time and the size of its last transaction. One number in the middle of a merged file cannot be compared, and
 * nothing is uploaded behind it before a snapshot.
 */
export async function endsAlike(
  client: ReplicaClient,
  stored: FileKey,
  local: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const found = await storedHeader(client, stored, signal);
  if (found === undefined) return true;
  try {
    const [own, other] = [decodeHeader(local), decodeHeader(found)];
    return (
      own.timestampMs === other.timestampMs &&
      own.commit === other.commit &&
      own.pageSize === other.pageSize
    );
  } catch {
    // Damaged: it proves nothing.
    return false;
  }
}

/** The first bytes of a stored file; undefined if retention has just taken it. */
async function storedHeader(
  client: ReplicaClient,
  key: FileKey,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
  const found = new Uint8Array(HEADER_BYTES);
  let length = 0;
  try {
    for await (const piece of client.read(key, { offset: 0, size: HEADER_BYTES, signal })) {
      found.set(piece.subarray(0, HEADER_BYTES - length), length);
      length += Math.min(piece.length, HEADER_BYTES - length);
    }
  } catch (error) {
    if (isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND')) return undefined;
    throw error;
  }
  return found.subarray(0, length);
}

/** The stored file if it has exactly the source's bytes, else undefined. */
export async function sameContent(
  client: ReplicaClient,
  key: FileKey,
  source: WriteSource,
  signal: AbortSignal | undefined,
): Promise<FileInfo | undefined> {
  const stored = client.read(key, { signal })[Symbol.asyncIterator]();
  let left = new Uint8Array(0);
  for await (const piece of source.stream(signal)) {
    let at = 0;
    while (at < piece.length) {
      if (left.length === 0) {
        const next = await stored.next();
        if (next.done === true) return undefined;
        left = Uint8Array.from(next.value);
        continue;
      }
      const length = Math.min(left.length, piece.length - at);
      if (Buffer.compare(left.subarray(0, length), piece.subarray(at, at + length)) !== 0) {
        return undefined;
      }
      left = left.slice(length);
      at += length;
    }
  }
  const rest = left.length > 0 ? { done: false } : await stored.next();
  if (rest.done !== true) return undefined;
  for await (const file of client.list(key.level, { seek: key.minTxid, signal })) {
    if (file.minTxid === key.minTxid && file.maxTxid === key.maxTxid) return file;
  }
  return undefined;
}
