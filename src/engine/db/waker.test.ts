import assert from 'node:assert/strict';
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '../../testing/index.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { Waker } from './waker.ts';

interface Wait {
  over: boolean;
}

/** Begins a wait of `ms` milliseconds. */
function begin(waker: Waker, ms: number): Wait {
  const wait: Wait = { over: false };
  void waker.wait(ms).then(() => (wait.over = true));
  return wait;
}

function file(t: TestContext): string {
  const path = join(tempDir(t), 'app.db-wal');
  writeFileSync(path, 'x');
  return path;
}

test('a wait ends when its time is over', async () => {
  const clock = new FakeClock();
  const wait = begin(new Waker(clock), 1000);
  await clock.advance(999);
  assert.equal(wait.over, false);
  await clock.advance(1);
  assert.equal(wait.over, true);
  assert.equal(clock.pending, 0);
});

test('waking ends a wait at once, and leaves no timer', async () => {
  const clock = new FakeClock();
  const waker = new Waker(clock);
  const wait = begin(waker, 1000);
  waker.wake();
  await clock.settle();
  assert.equal(wait.over, true);
  assert.equal(clock.pending, 0);
});

test('waking before a wait ends that one, and only that one', async () => {
  const clock = new FakeClock();
  const waker = new Waker(clock);
  waker.wake();
  waker.wake();
  const first = begin(waker, 1000);
  await clock.settle();
  assert.equal(first.over, true);
  const second = begin(waker, 1000);
  await clock.settle();
  assert.equal(second.over, false);
  await clock.advance(1000);
  assert.equal(second.over, true);
});

test('NODE-17 the first write to a watched file ends the wait, and the watch', async (t) => {
  const clock = new FakeClock();
  const waker = new Waker(clock);
  t.after(() => waker.disarm());
  const path = file(t);
  waker.arm(path);
  waker.arm(path);
  assert.equal(waker.isWatching(), true);
  const wait = begin(waker, 1000);
  appendFileSync(path, 'y');
  while (!wait.over) await clock.settle();
  assert.equal(waker.isWatching(), false);
  assert.equal(clock.monotonic(), 0);
});

test('a watch that was given up wakes nobody', async (t) => {
  const clock = new FakeClock();
  const waker = new Waker(clock);
  const path = file(t);
  waker.arm(path);
  waker.disarm();
  assert.equal(waker.isWatching(), false);
  const wait = begin(waker, 1000);
  appendFileSync(path, 'y');
  await clock.settle(50);
  assert.equal(wait.over, false);
});

test('where nothing can be watched the timer remains', async (t) => {
  const clock = new FakeClock();
  const waker = new Waker(clock);
  waker.arm(join(tempDir(t), 'missing'));
  assert.equal(waker.isWatching(), false);
  const wait = begin(waker, 10);
  await clock.advance(10);
  assert.equal(wait.over, true);
});
