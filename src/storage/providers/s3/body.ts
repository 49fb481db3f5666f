import { createHash } from 'node:crypto';
import { LitestreamError } from '../../../lib/errors.ts';
import type { OpenFile } from '../../../lib/file-system.ts';
import { sha256Hex } from './signer.ts';

const CHUNK_SIZE = 512 * 1024;

/** The body of a request. May be sent more than once. */
export interface RequestBody {
  /** Bytes. */
  readonly size: number;
  /** What is handed to the HTTP client. */
  readonly content: Uint8Array | { size: number; stream(): AsyncIterable<Uint8Array> };
  /** Hex SHA-256. Costs a pass over a file, once. */
  sha256(): Promise<string>;
}

/** Bytes in memory. */
export function bytesBody(bytes: Uint8Array): RequestBody {
  let hash: string | undefined;
  return {
    size: bytes.length,
    content: bytes,
    sha256: () => Promise.resolve((hash ??= sha256Hex(bytes))),
  };
}

/** Part of an open file: read twice, for the hash and for the wire, and never held as a whole. */
export function rangeBody(file: OpenFile, offset: number, size: number): RequestBody {
  let hash: Promise<string> | undefined;
  const stream = (): AsyncGenerator<Uint8Array, void, undefined> => readRange(file, offset, size);
  return {
    size,
    content: { size, stream },
    sha256: () => (hash ??= hashOf(stream())),
  };
}

async function hashOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

async function* readRange(
  file: OpenFile,
  offset: number,
  size: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < size;) {
    const chunk = new Uint8Array(Math.min(CHUNK_SIZE, size - at));
    const count = await file.read('s3:read-part', chunk, offset + at);
    if (count === 0) {
      throw new LitestreamError(
        'ERR_STORAGE',
        `source ends at byte ${offset + at}, expected ${offset + size}: it changed while it was read`,
        { details: { field: 'size', offset: 0, expected: offset + size, found: offset + at } },
      );
    }
    at += count;
    yield chunk.subarray(0, count);
  }
}
