import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../lib/clock.ts';
import { FakeClock } from '../../testing/index.ts';
import { Waker } from './waker.ts';

test('those who wait are looked after with one timer, and only who has something to do is woken', async () => {
  const fake = new FakeClock(0);
  let timers = 0;
  const clock: Clock = {
    now: () => fake.now(),
    monotonic: () => fake.monotonic(),
    timer: (ms, callback) => {
      timers++;
      return fake.timer(ms, callback);
    },
  };
  const looks = Array.from({ length: 100 }, () => 0);
  const busy = new Set<number>();
  const ended: number[] = [];
  const wakers = looks.map(() => new Waker(clock));
  const waits = wakers.map(async (waker, at) => {
    await waker.wait(1000, () => {
      looks[at] = (looks[at] ?? 0) + 1;
      return !busy.has(at);
    });
    ended.push(at);
  });
  await fake.advance(10_500);
  assert.deepEqual([...new Set(looks)], [10]);
  assert.ok(timers <= 20, `${timers} timers for ten seconds of a hundred`);
  busy.add(7);
  await fake.advance(1000);
  assert.deepEqual(ended, [7]);
  wakers[3]?.wake();
  await fake.advance(0);
  assert.deepEqual(ended, [7, 3]);
  const before = looks[3];
  await fake.advance(5000);
  assert.equal(looks[3], before, 'nobody looks after one who has been woken');
  for (const waker of wakers) waker.wake();
  await Promise.all(waits);
  assert.equal(fake.pending, 0);
});
