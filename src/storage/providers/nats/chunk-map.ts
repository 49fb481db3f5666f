import type { Session } from './connection.ts';
import { messages } from './messages.ts';
import { chunkSubject, type ObjectInfo } from './objects.ts';

/** Chunks whose places are remembered, over all objects: 16 bytes each. */
const REMEMBERED_MAX = 500_000;
const WINDOW = 4096;
/** Closer to the start it is cheaper to read than to look. */
const SKIP_BYTES_MIN = 256 * 1024;

/** Where a chunk begins in its object, and where it lies in the stream. */
export interface ChunkPlace {
  readonly offset: number;
  readonly sequence: number;
}

interface ChunkMap {
  /** Offset of each chunk. */
  readonly offsets: Float64Array;
  readonly sequences: Float64Array;
}

const START: ChunkPlace = { offset: 0, sequence: 1 };

/**
 * Finds the chunk that holds a byte. The protocol knows no ranges and chunks may have any size, so the sizes are asked for
 * (headers without data, some hundred bytes per chunk) and remembered: chunks of one `nuid` never change.
 */
export class ChunkMaps {
  readonly #maps = new Map<string, ChunkMap>();
  #remembered = 0;

  /** A chunk at or before the offset. */
  async find(
    session: Session,
    info: ObjectInfo,
    offset: number,
    signal: AbortSignal,
  ): Promise<ChunkPlace> {
    if (offset < SKIP_BYTES_MIN || info.chunks < 2) return START;
    const known = this.#maps.get(info.nuid);
    if (known !== undefined) return lookUp(known, offset);
    const { map, size } = await load(session, info, signal);
    // Some are gone: what is left of them is of no use.
    if (size !== info.size) return START;
    this.#keep(info.nuid, map);
    return lookUp(map, offset);
  }

  #keep(nuid: string, map: ChunkMap): void {
    this.#maps.set(nuid, map);
    this.#remembered += map.offsets.length;
    for (const [oldest, { offsets }] of this.#maps) {
      if (this.#remembered <= REMEMBERED_MAX || oldest === nuid) break;
      this.#maps.delete(oldest);
      this.#remembered -= offsets.length;
    }
  }
}

async function load(
  session: Session,
  info: ObjectInfo,
  signal: AbortSignal,
): Promise<{ readonly map: ChunkMap; readonly size: number }> {
  const offsets: number[] = [];
  const sequences: number[] = [];
  const subject = chunkSubject(session.bucket, info.nuid);
  let offset = 0;
  const query = { subject, headersOnly: true, window: WINDOW };
  for await (const { seq, headers } of messages(session, query, signal)) {
    offsets.push(offset);
    sequences.push(seq);
    offset += Number(headers?.get('Nats-Msg-Size') ?? 0);
  }
  const map = { offsets: Float64Array.from(offsets), sequences: Float64Array.from(sequences) };
  return { map, size: offset };
}

function lookUp({ offsets, sequences }: ChunkMap, offset: number): ChunkPlace {
  let low = 0;
  let high = offsets.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((offsets[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return { offset: offsets[low] ?? 0, sequence: sequences[low] ?? START.sequence };
}
