import { throwIfAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import type { ReadOptions } from '../../contract.ts';
import type { HttpResponse } from '../../http/index.ts';
import type { Session } from './session.ts';

/**
 * Opens part of a file. Servers that ignore ranges send everything: what is not wanted is skipped, and reading stops at the
 * end of the range.
 *
 * @throws LitestreamError `ERR_STORAGE_NOT_FOUND`
 */
export async function openRange(
  session: Session,
  path: string,
  { offset = 0, size = 0, signal }: ReadOptions,
): Promise<AsyncIterable<Uint8Array>> {
  const last = size > 0 ? String(offset + size - 1) : '';
  const ranged = offset > 0 || size > 0;
  const response = await session.send({
    method: 'GET',
    path,
    headers: {
      'accept-encoding': 'identity',
      ...(ranged && { range: `bytes=${offset}-${last}` }),
    },
    signal,
  });
  const wanted = { left: size > 0 ? size : Infinity, signal };
  switch (response.status) {
    case 200:
      return cutOut(response, { ...wanted, skip: offset });
    case 206:
      return cutOut(response, { ...wanted, skip: offset - startOf(response, offset) });
    case 416:
      await response.discard();
      return nothing();
    case 410:
    case 404: {
      await response.discard();
      throw new LitestreamError('ERR_STORAGE_NOT_FOUND', 'file does not exist', {
        hint: 'retention or another program may have removed the file',
      });
    }
    default:
      throw await session.unexpected(response);
  }
}

/** First byte of a partial answer. */
function startOf({ headers }: HttpResponse, offset: number): number {
  const text = headers['content-range'] ?? '';
  const start = /^bytes ([0-9]+)-/i.exec(text)?.[1];
  // Without a word about it, the server did as it was asked.
  if (start === undefined) return offset;
  if (Number(start) <= offset) return Number(start);
  throw new LitestreamError('ERR_STORAGE', `asked for bytes from ${offset}, got "${text}"`, {
    details: { field: 'content-range', expected: offset, found: text },
  });
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {
  // Begins behind the end.
}

async function* cutOut(
  response: HttpResponse,
  range: { skip: number; left: number; readonly signal: AbortSignal | undefined },
): AsyncGenerator<Uint8Array, void, undefined> {
  let { skip, left } = range;
  for await (const chunk of response.body) {
    throwIfAborted(range.signal);
    const part = chunk.subarray(skip, left === Infinity ? undefined : skip + left);
    skip = Math.max(0, skip - chunk.length);
    left -= part.length;
    if (part.length > 0) yield part;
    if (left <= 0) return;
  }
}
