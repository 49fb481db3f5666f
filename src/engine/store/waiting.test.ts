import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toTxid, type Txid } from '../../formats/ltx/index.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { FakeClock } from '../../testing/index.ts';
import { CaptureRounds } from './capture-rounds.ts';
import { SharedAttempt } from './shared-attempt.ts';
import { Stagger } from './stagger.ts';

/** Rounds whose captures end when the test says so. */
function rounds(clock: FakeClock): {
  readonly shared: CaptureRounds;
  readonly captures: { readonly end: (txid: bigint) => void }[];
  durable: bigint;
} {
  const captures: { readonly end: (txid: bigint) => void }[] = [];
  const state = { durable: 0n };
  const shared = new CaptureRounds({
    clock,
    capture: () =>
      new Promise<Txid>((resolve) => {
        captures.push({ end: (txid) => resolve(toTxid(txid)) });
      }),
    isDurable: (txid) => state.durable >= txid,
  });
  return Object.assign(state, { shared, captures });
}

test('who comes during a capture gets the next one, however many they are', async () => {
  const clock = new FakeClock();
  const { shared, captures } = rounds(clock);
  const first = shared.join(true);
  await clock.settle();
  assert.equal(captures.length, 1);
  const later = Array.from({ length: 100 }, () => shared.join(true));
  captures[0]?.end(1n);
  assert.equal(await first, 1n);
  await clock.settle();
  assert.equal(captures.length, 2);
  captures[1]?.end(2n);
  assert.deepEqual(new Set(await Promise.all(later)), new Set([2n]));
});

test('a round waits until the one before is durable, a second at most; urgent ones do not', async () => {
  const clock = new FakeClock();
  const bench = rounds(clock);
  const { shared, captures } = bench;
  const join = async (urgent = false): Promise<void> => {
    void shared.join(urgent);
    await clock.settle();
  };
  await join();
  captures[0]?.end(1n);
  await join();
  assert.equal(captures.length, 1);
  await clock.advance(999);
  assert.equal(captures.length, 1);
  await clock.advance(1);
  assert.equal(captures.length, 2, 'a store that is down costs a file per second');
  captures[1]?.end(2n);
  await join();
  bench.durable = 2n;
  shared.progress();
  await clock.settle();
  assert.equal(captures.length, 3, 'a store that answers costs a file per answer');
  captures[2]?.end(3n);
  await join();
  assert.equal(captures.length, 3);
  await join(true);
  assert.equal(captures.length, 4);
});

test('a failed capture fails those who waited for it, and nobody after them', async () => {
  const clock = new FakeClock();
  let fails = true;
  const shared = new CaptureRounds({
    clock,
    capture: async () => {
      if (fails) throw new LitestreamError('ERR_DB_BUSY', 'database is locked');
      return toTxid(1n);
    },
    isDurable: () => true,
  });
  await assert.rejects(shared.join(false), { code: 'ERR_DB_BUSY' });
  fails = false;
  assert.equal(await shared.join(false), 1n);
});

test('the end reaches those who wait, and those who come later', async () => {
  const clock = new FakeClock();
  const { shared, captures } = rounds(clock);
  void shared.join(true);
  await clock.settle();
  captures[0]?.end(1n);
  const waiting = shared.join(false);
  shared.stop(new LitestreamError('ERR_DB_NOT_OPEN', 'database not open: /a'));
  await assert.rejects(waiting, { code: 'ERR_DB_NOT_OPEN' });
  await assert.rejects(shared.join(true), { code: 'ERR_DB_NOT_OPEN' });
});

test('an attempt is shared by all who came before it began, and aborted when all have gone', async () => {
  const clock = new FakeClock();
  const ends: (() => void)[] = [];
  const aborted: number[] = [];
  const shared = new SharedAttempt(async (signal) => {
    const number = ends.length;
    await new Promise<void>((resolve, reject) => {
      ends.push(resolve);
      signal.addEventListener('abort', () => {
        aborted.push(number);
        reject(new LitestreamError('ERR_ABORTED', 'context canceled'));
      });
    });
  });
  const first = shared.join();
  await clock.settle();
  const gone = new AbortController();
  const second = [shared.join(gone.signal), shared.join(gone.signal)];
  const refused = Promise.all(second.map((wait) => assert.rejects(wait, { code: 'ERR_ABORTED' })));
  ends[0]?.();
  await first;
  await clock.settle();
  assert.equal(ends.length, 2);
  gone.abort();
  await refused;
  assert.deepEqual(aborted, [1]);
  const third = shared.join();
  await clock.settle();
  const early = new AbortController();
  const fourth = assert.rejects(shared.join(early.signal), { code: 'ERR_ABORTED' });
  early.abort();
  await fourth;
  const fifth = shared.join();
  ends[2]?.();
  await third;
  await clock.settle();
  ends[3]?.();
  await fifth;
  assert.equal(ends.length, 4, "an attempt that was given up before it began is nobody else's");
});

test('OPS-07 fifty databases start at once, the others five hundred a second', async () => {
  const clock = new FakeClock();
  const stagger = new Stagger(clock);
  const delays = Array.from({ length: 1000 }, () => stagger.delayMs());
  assert.equal(delays.filter((delay) => delay === 0).length, 50);
  assert.equal(delays.at(-1), 1900);
  await clock.advance(20_000);
  assert.equal(stagger.delayMs(), 0);
});
