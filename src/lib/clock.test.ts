import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';
import { systemClock } from './clock.ts';

test('NODE-07 a timer beyond what the platform can count does not fire at once', async () => {
  let fired = 0;
  const timers = [2 ** 31, 30 * 86_400_000, 365 * 86_400_000, Number.MAX_SAFE_INTEGER].map((ms) =>
    systemClock.timer(ms, () => {
      fired++;
    }),
  );
  await wait(50);
  await turn();
  assert.equal(fired, 0);
  for (const timer of timers) timer.cancel();
});

test('NODE-14 durations are measured with a clock that nobody sets', (t) => {
  const before = systemClock.monotonic();
  t.mock.timers.enable({ apis: ['Date'], now: 0 });
  assert.equal(systemClock.now(), 0);
  t.mock.timers.setTime(3_600_000);
  assert.equal(systemClock.now(), 3_600_000);
  const after = systemClock.monotonic();
  assert.ok(after >= before && after - before < 3_600_000);
});
