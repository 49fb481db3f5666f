import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../../testing/index.ts';
import { firstSyncs } from './first-syncs.ts';

/** Runs the wait and tells after how many milliseconds it ended; undefined if it did not. */
async function waited(
  count: number,
  readyAfter: (index: number, ms: number) => boolean,
  boundMs = 120_000,
): Promise<number | undefined> {
  const clock = new FakeClock();
  const start = clock.monotonic();
  const stop = new AbortController();
  let ended: number | undefined;
  const replicas = (): { isReady: boolean }[] =>
    Array.from({ length: count }, (_, index) => ({
      isReady: readyAfter(index, clock.monotonic() - start),
    }));
  const wait = firstSyncs(replicas, clock, stop.signal).then(() => {
    ended ??= clock.monotonic() - start;
  });
  while (clock.monotonic() - start < boundMs && ended === undefined) await clock.advance(250);
  const result = ended;
  stop.abort();
  await wait;
  return result;
}

test('OPS-07 maintenance of many databases waits for their first syncs', async () => {
  assert.equal(await waited(1000, (index, ms) => ms >= index * 5), 5000);
});

test('OPS-07 maintenance of few databases waits for nothing', async () => {
  assert.equal(await waited(50, () => false), 0);
});

test('OPS-07 databases that do not become ready hold up the others for three seconds, or a minute in all', async () => {
  assert.equal(await waited(100, (index) => index > 0), 3000);
  assert.equal(await waited(100, () => false), 3000);
  assert.equal(await waited(1000, (index, ms) => index < ms / 1000), 60_000);
});

test('OPS-07 a stop ends the wait', async () => {
  assert.equal(await waited(1000, (index, ms) => index < ms / 1000, 10_000), undefined);
});
