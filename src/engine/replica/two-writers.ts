import { decodeHeader, formatTxid, LTX_TRAILER_SIZE, type Txid } from '../../formats/ltx/index.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import {
  readRange,
  type FileInfo,
  type FileKey,
  type ReplicaClient,
  type WriteSource,
} from '../../storage/index.ts';

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
  try {
    if (!(await sameBytes(source.stream(signal), stored))) return undefined;
  } finally {
    await stored.return?.();
  }
  for await (const file of client.list(key.level, { seek: key.minTxid, signal })) {
    if (file.minTxid === key.minTxid && file.maxTxid === key.maxTxid) return file;
  }
  return undefined;
}

async function sameBytes(
  source: AsyncIterable<Uint8Array>,
  stored: AsyncIterator<Uint8Array>,
): Promise<boolean> {
  let left: Uint8Array = new Uint8Array(0);
  for await (const piece of source) {
    let at = 0;
    while (at < piece.length) {
      if (left.length === 0) {
        const next = await stored.next();
        if (next.done === true) return false;
        left = next.value;
        continue;
      }
      const length = Math.min(left.length, piece.length - at);
      const [a, b] = [left.subarray(0, length), piece.subarray(at, at + length)];
      if (Buffer.compare(a, b) !== 0) return false;
      left = left.subarray(length);
      at += length;
    }
  }
  return left.length === 0 && (await stored.next()).done === true;
}

/**
 * What tells a file from every other one: its size, its header, and its trailer with the checksum of everything before. Reads the
 * whole source.
 */
export async function markOf(
  source: WriteSource,
  signal: AbortSignal | undefined,
): Promise<string> {
  let head: Uint8Array = new Uint8Array(0);
  let tail: Uint8Array = new Uint8Array(0);
  for await (const piece of source.stream(signal)) {
    if (head.length < HEADER_BYTES) {
      head = Buffer.concat([head, piece.subarray(0, HEADER_BYTES - head.length)]);
    }
    tail = Buffer.concat([tail, piece.subarray(-LTX_TRAILER_SIZE)]).subarray(-LTX_TRAILER_SIZE);
  }
  return mark(source.size, head, tail);
}

/** True if the stored file has one of these marks. Reads no more than its ends. */
export async function isOneOf(
  marks: readonly string[],
  client: ReplicaClient,
  key: FileKey,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  for (const known of marks) {
    const size = Number(known.split(':', 1)[0]);
    const offset = Math.max(0, size - LTX_TRAILER_SIZE);
    const head = await readRange(client, key, { size: HEADER_BYTES, signal });
    // One more byte than there should be.
    const tail = await readRange(client, key, { offset, size: LTX_TRAILER_SIZE + 1, signal });
    if (mark(size, head, tail) === known) return true;
  }
  return false;
}

function mark(size: number, head: Uint8Array, tail: Uint8Array): string {
  return `${size}:${Buffer.from(head).toString('hex')}:${Buffer.from(tail).toString('hex')}`;
}
