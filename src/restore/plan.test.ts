import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { NO_TXID, toTxid } from '../formats/ltx/index.ts';
import { isLitestreamError, LitestreamError } from '../lib/errors.ts';
import type { FileInfo } from '../storage/index.ts';
import { choosePlan, listingBounds, type Listing, type RestoreTarget } from './plan.ts';

const RUNS = process.env['SLOW'] === '1' ? 20_000 : 1_000;

type Range = readonly [level: number, min: number, max: number, createdAt?: number];

function file([level, min, max, createdAt = max]: Range): FileInfo {
  return { level, minTxid: toTxid(min), maxTxid: toTxid(max), size: 200, createdAt };
}

function listing(...ranges: readonly Range[]): Listing {
  const levels: FileInfo[][] = Array.from({ length: 10 }, () => []);
  for (const range of ranges) levels[range[0]]?.push(file(range));
  for (const level of levels) {
    level.sort((a, b) => Number(a.minTxid - b.minTxid) || Number(a.maxTxid - b.maxTxid));
  }
  return levels;
}

function names(files: readonly FileInfo[]): string[] {
  return files.map((f) => `${f.level}:${f.minTxid}-${f.maxTxid}`);
}

function plan(target: RestoreTarget, ...ranges: readonly Range[]): string[] {
  return names(choosePlan(listing(...ranges), target).files);
}

function failure(target: RestoreTarget, ...ranges: readonly Range[]): LitestreamError {
  try {
    choosePlan(listing(...ranges), target);
  } catch (error) {
    if (error instanceof LitestreamError) return error;
  }
  throw new Error('expected a LitestreamError');
}

const txid = (n: number): RestoreTarget => ({ txid: toTxid(n) });

test('takes the newest snapshot, then the files that reach furthest', () => {
  const files: Range[] = [
    [9, 1, 3],
    [9, 1, 5],
    [1, 1, 4],
    [1, 5, 8],
    [2, 1, 4],
    [0, 8, 8],
    [0, 9, 9],
    [0, 10, 10],
  ];
  assert.deepEqual(plan({}, ...files), ['9:1-5', '1:5-8', '0:9-9', '0:10-10']);
  assert.deepEqual(plan(txid(5), ...files), ['9:1-5']);
  assert.deepEqual(plan(txid(8), ...files), ['9:1-5', '1:5-8']);
  assert.deepEqual(plan(txid(4), ...files, [0, 4, 4]), ['9:1-3', '2:1-4']);
});

test('prefers smaller min, then the higher level, then the earlier time', () => {
  assert.deepEqual(plan({}, [0, 1, 1], [0, 2, 3], [1, 1, 3], [2, 1, 3]), ['2:1-3']);
  const twins = choosePlan(listing([0, 1, 1, 50], [0, 1, 1, 40]), {});
  assert.equal(twins.files[0]?.createdAt, 40);
});

test('reports the range of the plan', () => {
  const { minTxid, maxTxid } = choosePlan(listing([9, 1, 3], [0, 4, 4]), {});
  assert.deepEqual([minTxid, maxTxid], [1n, 4n]);
});

test('fills a gap in one level from a lower level', () => {
  assert.deepEqual(plan({}, [1, 1, 2], [1, 5, 6], [0, 3, 3], [0, 4, 4]), [
    '1:1-2',
    '0:3-3',
    '0:4-4',
    '1:5-6',
  ]);
});

test('compares times strictly', () => {
  const files: Range[] = [
    [9, 1, 1, 100],
    [0, 2, 2, 200],
    [0, 3, 3, 300],
  ];
  assert.deepEqual(plan({ timestampMs: 300 }, ...files), ['9:1-1', '0:2-2']);
  assert.deepEqual(plan({ timestampMs: 301 }, ...files), ['9:1-1', '0:2-2', '0:3-3']);
  const early = failure({ timestampMs: 100 }, ...files);
  assert.equal(early.code, 'ERR_TX_NOT_AVAILABLE');
  assert.deepEqual([early.details['oldestMs'], early.details['newestMs']], [100, 300]);
});

test('I5 names what it has and the nearest file behind a gap', () => {
  const error = failure({}, [9, 1, 2], [0, 9, 9], [1, 5, 8], [0, 2, 2]);
  assert.equal(error.code, 'ERR_TX_GAP');
  assert.equal(
    error.message,
    'non-contiguous ltx files: have up to 0000000000000002 but next file starts at 0000000000000005',
  );
});

test('I5 refuses a time restore that would stop in front of a gap', () => {
  const error = failure({ timestampMs: 350 }, [9, 1, 1, 100], [0, 3, 3, 300], [0, 4, 4, 400]);
  assert.equal(error.code, 'ERR_TX_GAP');
  assert.deepEqual(plan({ timestampMs: 300 }, [9, 1, 1, 100], [0, 3, 3, 300]), ['9:1-1']);
});

test('a time inside a newer compacted file gives the state before that file', () => {
  const files: Range[] = [
    [9, 1, 1, 100],
    [1, 2, 3, 300],
    [0, 3, 3, 300],
    [0, 5, 5, 500],
    [1, 4, 6, 600],
  ];
  assert.deepEqual(plan({ timestampMs: 550 }, ...files), ['9:1-1', '1:2-3']);
  assert.equal(failure({ timestampMs: 550 }, ...files.slice(0, 4)).code, 'ERR_TX_GAP');
  assert.equal(
    failure({ timestampMs: 550 }, ...files.slice(0, 4), [9, 1, 6, 600]).code,
    'ERR_TX_GAP',
  );
});

test('says not available for a TXID that no file ends at, a gap before it included', () => {
  assert.equal(failure(txid(2), [1, 1, 3]).code, 'ERR_TX_NOT_AVAILABLE');
  assert.equal(failure(txid(4), [1, 1, 3]).code, 'ERR_TX_NOT_AVAILABLE');
  assert.equal(failure(txid(4), [0, 1, 1], [0, 4, 4]).code, 'ERR_TX_NOT_AVAILABLE');
  assert.equal(failure({}).message, 'transaction not available');
});

test('does not start with a file of the snapshot level that begins later than TXID 1', () => {
  assert.deepEqual(plan({}, [9, 2, 9], [0, 1, 1]), ['0:1-1']);
});

test('refuses two targets', () => {
  assert.throws(
    () => choosePlan(listing([0, 1, 1]), { txid: toTxid(1), timestampMs: 5 }),
    /cannot specify index & timestamp to restore/,
  );
});

test('gives the bounds of a listing', () => {
  assert.equal(listingBounds(listing()), undefined);
  assert.deepEqual(listingBounds(listing([0, 1, 1, 7], [3, 1, 1, 5], [9, 1, 1, 6])), {
    oldestMs: 5,
    newestMs: 7,
  });
});

test('plans ten thousand files of one level', () => {
  const ranges = Array.from({ length: 10_000 }, (_, i): Range => [0, i + 1, i + 1]);
  assert.equal(plan({}, ...ranges).length, 10_000);
});

/** Every maximum that some chain of eligible files ends at, by exhaustive search. */
function reachable(files: readonly FileInfo[]): Set<bigint> {
  const reached = new Set<bigint>();
  const queue: bigint[] = [0n];
  for (let current = queue.pop(); current !== undefined; current = queue.pop()) {
    for (const f of files) {
      if (f.level === 9 ? f.minTxid !== 1n || current !== 0n : f.minTxid > current + 1n) continue;
      if (f.maxTxid <= current || reached.has(f.maxTxid)) continue;
      reached.add(f.maxTxid);
      queue.push(f.maxTxid);
    }
  }
  return reached;
}

function furthest(files: readonly FileInfo[]): bigint {
  return [...reachable(files)].reduce((a, b) => (a > b ? a : b), 0n);
}

function assertContiguous(files: readonly FileInfo[]): void {
  let current: bigint = NO_TXID;
  for (const f of files) {
    assert.ok(f.minTxid <= current + 1n && f.maxTxid > current, names(files).join(' '));
    current = f.maxTxid;
  }
}

const anyFile = fc
  .record({
    level: fc.integer({ min: 0, max: 9 }),
    min: fc.integer({ min: 1, max: 14 }),
    length: fc.nat(6),
    createdAt: fc.nat(20),
  })
  .map(({ level, min, length, createdAt }): Range => {
    const from = level === 9 ? 1 : min;
    return [level, from, from + length, createdAt];
  });

test('agrees with an exhaustive search on random listings', () => {
  fc.assert(
    fc.property(
      fc.array(anyFile, { maxLength: 16 }),
      fc.option(fc.integer({ min: 1, max: 20 })),
      fc.option(fc.nat(21)),
      (ranges, id, time) => {
        const target: RestoreTarget =
          id === null ? (time === null ? {} : { timestampMs: time }) : { txid: toTxid(id) };
        const eligible = ranges
          .map(file)
          .filter((f) => target.txid === undefined || f.maxTxid <= target.txid)
          .filter((f) => target.timestampMs === undefined || f.createdAt < target.timestampMs);
        const best = furthest(eligible);
        const behind = eligible
          .filter((f) => f.minTxid > best + 1n)
          .map((f) => f.minTxid)
          .reduce((a, b) => (a < b ? a : b), 99n);
        const anyTime = [
          ...(best === 0n ? [] : [file([0, 1, Number(best)])]),
          ...ranges.map(file).filter((f) => f.level !== 9),
        ];
        const hole =
          time === null
            ? behind < 99n
            : best > 0n && behind < 99n && furthest(anyTime) + 1n < behind;
        const expected =
          target.txid === undefined && hole
            ? 'ERR_TX_GAP'
            : best === 0n || best !== (target.txid ?? best)
              ? 'ERR_TX_NOT_AVAILABLE'
              : best;
        try {
          const chosen = choosePlan(listing(...ranges), target);
          assertContiguous(chosen.files);
          assert.equal(chosen.maxTxid, expected);
        } catch (error) {
          if (!isLitestreamError(error)) throw error;
          assert.equal(error.code, expected);
        }
      },
    ),
    { numRuns: RUNS },
  );
});

/** A replica as compaction builds it: complete level 0, consecutive ranges above, some snapshots. */
const compacted = fc
  .record({
    last: fc.integer({ min: 1, max: 40 }),
    spans: fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 8 }),
    snapshots: fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 3 }),
  })
  .map(({ last, spans, snapshots }) => {
    const ranges: Range[] = [];
    for (let n = 1; n <= last; n += 1) ranges.push([0, n, n]);
    spans.forEach((span, index) => {
      for (let n = 1; n + span - 1 <= last; n += span) ranges.push([index + 1, n, n + span - 1]);
    });
    for (const n of snapshots) if (n <= last) ranges.push([9, 1, n]);
    return { last, ranges };
  });

test('any compacted file may be missing while lower levels cover it', () => {
  fc.assert(
    fc.property(compacted, fc.infiniteStream(fc.boolean()), ({ last, ranges }, keep) => {
      const kept = ranges.filter(([level]) => level === 0 || keep.next().value === true);
      for (const target of [{}, { timestampMs: last + 1 }, txid(last), txid(Math.ceil(last / 2))]) {
        const chosen = choosePlan(listing(...kept), target);
        assertContiguous(chosen.files);
        assert.equal(chosen.maxTxid, target.txid ?? BigInt(last));
      }
    }),
    { numRuns: RUNS },
  );
});
