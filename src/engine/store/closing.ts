import { type Clock, sleep } from '../../lib/clock.ts';

/** Databases that begin to be closed at the same time. */
const PARALLEL = 16;
/** Who takes longer waits for something; others begin meanwhile. */
const PATIENCE_MS = 500;

/**
 * Does something for each of many, some at a time: what takes long does not hold up the others, and all have the same deadline.
 *
 * @param timeoutMs - for all of them together
 * @param body - is told how much of it is left, in milliseconds
 */
export async function closeEach<T>(
  items: readonly T[],
  { clock, timeoutMs }: { readonly clock: Clock; readonly timeoutMs: number },
  body: (item: T, leftMs: number) => Promise<void>,
): Promise<void> {
  const startedAt = clock.monotonic();
  const queue = items.values();
  const running: Promise<void>[] = [];
  const work = async (): Promise<void> => {
    for (const item of queue) {
      const done = body(item, Math.max(0, timeoutMs - (clock.monotonic() - startedAt)));
      running.push(done);
      const over = new AbortController();
      const late = sleep(clock, PATIENCE_MS, over.signal).catch(() => undefined);
      await Promise.race([done, late]);
      over.abort();
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  await Promise.all(running);
}
