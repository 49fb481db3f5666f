import { createHash, type Hash } from 'node:crypto';
import { LitestreamError } from '../../../lib/errors.ts';
import { raceAbort } from '../../streams.ts';
import type { ChunkMaps } from './chunk-map.ts';
import type { Session } from './connection.ts';
import { messages } from './messages.ts';
import { chunkSubject, type ObjectInfo } from './objects.ts';

/** Bytes that are fetched ahead of the reader. */
const READ_AHEAD_BYTES = 2 * 1024 * 1024;
const WINDOW_MAX = 4096;
/** So many chunks are asked for one by one, which takes fewer requests than a reader in the server. */
const SINGLE_CHUNKS = 2;

export interface ByteRange {
  readonly offset: number;
  /** End, exclusive; not behind the end of the object. */
  readonly end: number;
}

/** The chunks of an object from a sequence on, the first two singly. */
async function* chunksFrom(
  session: Session,
  { nuid, size, chunks }: ObjectInfo,
  start: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { manager, stream, bucket } = session;
  const subject = chunkSubject(bucket, nuid);
  let next = start;
  for (let single = 0; single < SINGLE_CHUNKS; single++) {
    const query = { seq: next, next_by_subj: subject };
    const found = await raceAbort(manager.streams.getMessage(stream, query), signal);
    if (found === null) return;
    yield found.data;
    next = found.seq + 1;
  }
  const average = Math.max(1, size / Math.max(1, chunks));
  const window = Math.min(WINDOW_MAX, Math.max(2, Math.round(READ_AHEAD_BYTES / average)));
  const rest = messages(session, { subject, start: next, window }, signal);
  for await (const { data } of rest) yield data;
}

/** Compares what was read with the digest, where the whole object was read. */
class Digest {
  readonly #info: ObjectInfo;
  readonly #hash: Hash | undefined;

  constructor(info: ObjectInfo, whole: boolean) {
    this.#info = info;
    this.#hash = whole && info.digest.startsWith('SHA-256=') ? createHash('sha256') : undefined;
  }

  add(bytes: Uint8Array): void {
    this.#hash?.update(bytes);
  }

  /** @throws LitestreamError if the bytes are not those that were stored. */
  check(): void {
    if (this.#hash === undefined) return;
    const { digest, name } = this.#info;
    const expected = digest.slice('SHA-256='.length);
    const found = this.#hash.digest('base64').replaceAll('+', '-').replaceAll('/', '_');
    if (found.replace(/=+$/, '') === expected.replace(/=+$/, '')) return;
    throw new LitestreamError(
      'ERR_STORAGE',
      `nats: object ${name} is corrupt: digests do not match`,
      {
        details: { field: 'digest', offset: 0, expected, found },
        hint: 'the object was damaged in the store; restore from another file or replica',
      },
    );
  }
}

/**
 * Bytes of an object. Nothing comes out if its chunks are gone, because it was replaced since it was looked at.
 *
 * @throws LitestreamError `ERR_STORAGE_TEMPORARY` if they go while they are read.
 */
export async function* readObject(
  session: Session,
  info: ObjectInfo,
  { range, maps, signal }: { range: ByteRange; maps: ChunkMaps; signal: AbortSignal },
): AsyncGenerator<Uint8Array, void, undefined> {
  const from = await maps.find(session, info, range.offset, signal);
  const digest = new Digest(info, range.offset === 0 && range.end === info.size);
  let position = from.offset;
  for await (const data of chunksFrom(session, info, from.sequence, signal)) {
    const begin = Math.max(0, range.offset - position);
    const end = Math.min(data.length, range.end - position);
    position += data.length;
    digest.add(data);
    if (position >= range.end) digest.check();
    // A plain copy: `slice` of what the library hands out is a Buffer where the library made one.
    if (end > begin) yield new Uint8Array(data.subarray(begin, end));
    if (position >= range.end) return;
  }
  if (position === from.offset) return;
  throw new LitestreamError(
    'ERR_STORAGE_TEMPORARY',
    `nats: object ${info.name} ends at byte ${position}, expected ${info.size}`,
    {
      retryable: true,
      details: { field: 'size', offset: position, expected: info.size, found: position },
    },
  );
}
