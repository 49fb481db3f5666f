import { LitestreamError } from '../../../lib/errors.ts';
import type { ReadOptions } from '../../contract.ts';
import type { HttpResponse } from '../../http/index.ts';

/** A part of an object. */
export interface ObjectRange {
  readonly key: string;
  readonly offset: number;
  /** 0 = to the end. */
  readonly size: number;
}

export function rangeOf({ offset = 0, size = 0 }: ReadOptions): Omit<ObjectRange, 'key'> {
  return { offset, size };
}

/** Where an answer begins in its object; undefined if it does not say. */
export function firstByte({ status, headers }: HttpResponse): number | undefined {
  const start = status === 206 ? /^bytes (\d+)-/.exec(headers['content-range'] ?? '')?.[1] : '0';
  return start === undefined ? undefined : Number(start);
}

/** The bytes that were asked for, also from a store that ignores ranges. */
export async function* within(
  response: HttpResponse,
  { key, offset, size }: ObjectRange,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { status, body } = response;
  // The range begins at or behind the end.
  if (status === 416) {
    await response.discard();
    return;
  }
  const first = firstByte(response) ?? offset;
  if (first > offset) {
    throw new LitestreamError(
      'ERR_STORAGE_TEMPORARY',
      `s3: get object ${key}: the answer begins at byte ${first}, expected ${offset}`,
      { retryable: true, details: { key, field: 'content-range', expected: offset, found: first } },
    );
  }
  let skip = offset - first;
  let left = size > 0 ? size : Infinity;
  for await (const chunk of body) {
    const from = Math.min(skip, chunk.length);
    skip -= from;
    const wanted = chunk.subarray(from, Math.min(chunk.length, from + left));
    left -= wanted.length;
    if (wanted.length > 0) yield wanted;
    // Reading an exact answer to its end keeps the connection.
    if (left <= 0 && status !== 206) return;
  }
}
