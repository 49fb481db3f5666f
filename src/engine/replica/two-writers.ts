import type { Txid } from '../../formats/ltx/index.ts';
import { formatTxid } from '../../formats/ltx/index.ts';
import { LitestreamError } from '../../lib/errors.ts';
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
