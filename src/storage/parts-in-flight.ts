import { isAborted, throwIfAborted } from '../lib/clock.ts';

export interface PartsInFlightOptions<P, R> {
  /** At least 1. */
  readonly limit: number;
  readonly signal: AbortSignal | undefined;
  /** Sends one part; ends soon when the signal fires. */
  readonly send: (part: P, signal: AbortSignal) => Promise<R>;
}

/**
 * Sends all parts of an upload, some at a time. When one fails the others are stopped, and are at rest when this throws: no part may
 * arrive behind the abort of the upload.
 *
 * @returns what became of each part, in their order.
 */
export async function sendParts<P, R>(
  parts: AsyncIterable<P>,
  { limit, signal, send }: PartsInFlightOptions<P, R>,
): Promise<R[]> {
  const stop = new AbortController();
  const all = AbortSignal.any(signal === undefined ? [stop.signal] : [stop.signal, signal]);
  const results: R[] = [];
  const running = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown): void => {
    failure ??= { error };
    stop.abort();
  };
  const start = (part: P, at: number): void => {
    const work = send(part, all)
      .then((result) => {
        results[at] = result;
      })
      .catch(fail)
      .finally(() => {
        running.delete(work);
      });
    running.add(work);
  };
  try {
    let at = 0;
    for await (const part of parts) {
      if (isAborted(all)) break;
      start(part, at++);
      if (running.size >= limit) await Promise.race(running);
    }
  } catch (error) {
    fail(error);
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
  throwIfAborted(signal);
  return results;
}
