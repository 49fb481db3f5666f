import { toTxid } from '../formats/ltx/index.ts';
import type { FileInfo, FileKey, ReplicaClient, WriteSource } from '../storage/index.ts';
import { randomNumbers } from './random.ts';

const HEADER_SIZE = 100;

/**
 * Bytes that storage takes for an LTX file: magic, timestamp at byte 32, then anything. No more than `size` of them, so that
 * fewer than 100 are a broken header.
 */
export function ltxLike(size: number, createdAt = 1_735_689_600_123, seed = 1): Uint8Array {
  const bytes = new Uint8Array(Math.max(size, HEADER_SIZE));
  const random = randomNumbers(seed);
  for (let at = HEADER_SIZE; at < bytes.length; at++) bytes[at] = random() * 256;
  bytes.set(new TextEncoder().encode('LTX1'));
  new DataView(bytes.buffer).setBigInt64(32, BigInt(createdAt));
  return bytes.subarray(0, size);
}

/** Names a file: `fileKey(0, 5)` is transaction 5 of level 0, `fileKey(1, 5, 9)` is 5 … 9 of level 1. */
export function fileKey(
  level: number,
  minTxid: number | bigint,
  maxTxid: number | bigint = minTxid,
): FileKey {
  return { level, minTxid: toTxid(minTxid), maxTxid: toTxid(maxTxid) };
}

/** A source that yields the bytes in pieces of a given size. */
export function chunkedSource(bytes: Uint8Array, chunkSize = 4096): WriteSource {
  return {
    size: bytes.length,
    async *stream() {
      await Promise.resolve();
      for (let at = 0; at < bytes.length; at += chunkSize) {
        yield bytes.subarray(at, at + chunkSize);
      }
    },
  };
}

/** All files of a level. */
export async function listAll(
  client: Pick<ReplicaClient, 'list'>,
  level: number,
  seek?: number | bigint,
): Promise<FileInfo[]> {
  const options = { accurateTimes: true, ...(seek === undefined ? {} : { seek: toTxid(seek) }) };
  const files: FileInfo[] = [];
  for await (const file of client.list(level, options)) files.push(file);
  return files;
}
