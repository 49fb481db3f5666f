import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Pace } from './pace.ts';

const SAVED = 120;

/** A commit after each gap, and its file as soon as the pace allows. Returns the times of the files. */
function simulate(pace: Pace, gaps: readonly number[], quietAfter: number): number[] {
  const files: number[] = [];
  let now = 0;
  for (const gap of gaps) {
    now += gap;
    if (gap >= quietAfter) pace.quiet();
    now += pace.readyIn(now);
    assert.equal(pace.readyIn(now), 0, 'the wait is long enough');
    pace.take(now);
    files.push(now);
  }
  return files;
}

const gaps = fc.array(
  fc.oneof(
    fc.integer({ min: 0, max: 20 }),
    fc.integer({ min: 0, max: 5_000 }),
    fc.constant(600_000),
  ),
  { minLength: 1, maxLength: 2_000 },
);

test('in no stretch of time there are more files than one per interval and 120', () => {
  fc.assert(
    fc.property(gaps, fc.integer({ min: 1, max: 3_000 }), (list, intervalMs) => {
      const files = simulate(new Pace({ intervalMs, explicit: false, now: 0 }), list, 100);
      for (let first = 0; first < files.length; first += 50) {
        for (let last = first; last < files.length; last += 7) {
          const stretch = (files[last] ?? 0) - (files[first] ?? 0);
          assert.ok(last - first + 1 <= SAVED + 1 + stretch / intervalMs);
        }
      }
    }),
    { numRuns: 50 },
  );
});

test('a commit after quiet is written at once', () => {
  const pace = new Pace({ intervalMs: 1000, explicit: false, now: 0 });
  assert.equal(pace.readyIn(0), 0);
  pace.take(0);
  pace.quiet();
  assert.equal(pace.readyIn(50), 0);
});

test('while commits keep coming the spacing doubles up to the interval', () => {
  const pace = new Pace({ intervalMs: 1000, explicit: false, now: 0 });
  let now = 0;
  const spacings: number[] = [];
  for (let file = 0; file < 10; file++) {
    pace.take(now);
    spacings.push(pace.readyIn(now));
    now += pace.readyIn(now);
  }
  assert.deepEqual(spacings, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
});

test('without saved tokens there is one file per interval', () => {
  const pace = new Pace({ intervalMs: 1000, explicit: false, now: 0 });
  for (let file = 0; file < SAVED; file++) {
    pace.take(0);
    pace.quiet();
  }
  pace.quiet();
  assert.equal(pace.readyIn(0), 1000);
  assert.equal(pace.readyIn(400), 600);
  assert.equal(pace.readyIn(1000), 0);
  pace.take(1000);
  pace.quiet();
  assert.equal(pace.readyIn(1000), 1000);
});

test('no more than 120 tokens are saved, however long it was quiet', () => {
  const pace = new Pace({ intervalMs: 10, explicit: false, now: 0 });
  const now = 86_400_000;
  let files = 0;
  while (pace.readyIn(now) === 0) {
    pace.take(now);
    pace.quiet();
    files++;
  }
  assert.equal(files, SAVED);
});

test('an interval that the user set is a hard minimum', () => {
  fc.assert(
    fc.property(gaps, fc.integer({ min: 1, max: 3_000 }), (list, intervalMs) => {
      const files = simulate(new Pace({ intervalMs, explicit: true, now: 0 }), list, 100);
      for (let at = 1; at < files.length; at++) {
        assert.ok((files[at] ?? 0) - (files[at - 1] ?? 0) >= intervalMs - 1e-6);
      }
    }),
    { numRuns: 50 },
  );
});

test('the first file of a process waits for nothing', () => {
  assert.equal(new Pace({ intervalMs: 60_000, explicit: true, now: 5 }).readyIn(5), 0);
});
