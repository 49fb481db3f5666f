import { abortError, throwIfAborted } from '../lib/clock.ts';
import type { Download, ReadKey, ReadOptions, ReplicaClient } from './contract.ts';

/**
 * The promise's result, or `ERR_ABORTED` as soon as the signal fires. The work behind the promise is not stopped; what
 * becomes of it is ignored.
 */
export function raceAbort<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    const settle = (): void => signal.removeEventListener('abort', onAbort);
    work.then(
      (value) => {
        settle();
        resolve(value);
      },
      (error: unknown) => {
        settle();
        reject(error);
      },
    );
  });
}

/** Ends an iteration that nobody wants any more, without waiting for a step that may hang. */
export function abandon(iterator: AsyncIterator<unknown>): void {
  iterator.return?.().catch(() => {
    // The error belongs to an iteration that was given up.
  });
}

/** The same items; a wait for the next one ends with `ERR_ABORTED` as soon as the signal fires. */
export async function* abortable<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  if (signal === undefined) {
    yield* source;
    return;
  }
  const iterator = source[Symbol.asyncIterator]();
  let waiting = false;
  try {
    for (;;) {
      throwIfAborted(signal);
      waiting = true;
      const step = await raceAbort(iterator.next(), signal);
      waiting = false;
      if (step.done === true) return;
      yield step.value;
    }
  } finally {
    if (waiting) abandon(iterator);
    else await iterator.return?.();
  }
}

/**
 * Maps items in order with at most `limit` calls under way. Abandoned calls run on in the background; their errors are
 * dropped.
 */
export async function* mapOrdered<T, R>(
  items: readonly T[],
  limit: number,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const running: Promise<R>[] = [];
  const rest = items.values();
  for (;;) {
    while (running.length < limit) {
      const step = rest.next();
      if (step.done === true) break;
      const work = map(step.value);
      work.catch(() => {
        // Reported when its turn comes, unless the iteration ends before.
      });
      running.push(work);
    }
    const first = running.shift();
    if (first === undefined) return;
    yield await first;
  }
}

/** Joins chunks into one array; a single chunk is returned as it is. */
export function concatBytes(chunks: readonly Uint8Array[]): Uint8Array {
  const [only] = chunks;
  if (chunks.length === 1 && only !== undefined) return only;
  const joined = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    joined.set(chunk, offset);
    offset += chunk.length;
  }
  return joined;
}

/** All bytes of a stream. */
export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return concatBytes(chunks);
}

/**
 * Part of a file as one array, shorter if the file ends first. `size` 0 or absent reads to the end; meant for headers, page
 * indexes and pages, not for whole databases.
 */
export function readRange(
  client: Pick<ReplicaClient, 'read'>,
  key: ReadKey,
  options: ReadOptions = {},
): Promise<Uint8Array> {
  return collect(client.read(key, options));
}

/** A whole file as one array. */
export function readAll(
  client: Pick<ReplicaClient, 'read'>,
  key: ReadKey,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  return collect(client.read(key, { signal }));
}

/** A stream as a download. */
export function downloadOf(stream: AsyncIterable<Uint8Array>): Download {
  const iterator = stream[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  return {
    fill: async (target) => {
      while (rest.length === 0) {
        const step = await iterator.next();
        if (step.done === true) return 0;
        rest = step.value;
      }
      const part = rest.subarray(0, target.length);
      target.set(part);
      rest = rest.subarray(part.length);
      return part.length;
    },
    close: () => abandon(iterator),
  };
}
