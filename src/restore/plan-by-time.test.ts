import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { formatTxid, toTxid } from '../formats/ltx/index.ts';
import { isLitestreamError, LitestreamError } from '../lib/errors.ts';
import type { FileInfo, ReplicaClient } from '../storage/index.ts';
import { MemoryClient } from '../testing/index.ts';
import { planRestore } from './backups.ts';
import { choosePlan, type Listing, type RestorePlan } from './plan.ts';

const RUNS = process.env['SLOW'] === '1' ? 5_000 : 500;
const UPLOADED_MS = 1e9;

interface Counts {
  lists: number;
  times: number;
  /** Times that are asked for at this moment, and the most that ever were. */
  now: number;
  most: number;
}

/** A replica whose listings know when files were uploaded, which is long after they were made. */
function slowTimes(exact: Listing): { client: ReplicaClient; counts: Counts } {
  const counts = { lists: 0, times: 0, now: 0, most: 0 };
  const times = new Map(exact.flat().map((file) => [nameOf(file), file.createdAt]));
  const ask = async (file: FileInfo): Promise<number> => {
    counts.times += 1;
    counts.most = Math.max(counts.most, (counts.now += 1));
    await nextTurn();
    counts.now -= 1;
    return times.get(nameOf(file)) ?? assert.fail('no such file');
  };
  const client: ReplicaClient = Object.assign(new MemoryClient(), {
    async *list(level: number, { accurateTimes = false } = {}) {
      counts.lists += 1;
      for (const file of exact[level] ?? []) {
        const createdAt = accurateTimes ? await ask(file) : UPLOADED_MS;
        yield { ...file, createdAt };
      }
    },
    timeOf: ask,
  });
  return { client, counts };
}

function nameOf({ level, minTxid, maxTxid }: FileInfo): string {
  return `${level}:${minTxid}-${maxTxid}`;
}

function file(level: number, min: number, max: number, createdAt: number): FileInfo {
  return { level, minTxid: toTxid(min), maxTxid: toTxid(max), size: 200, createdAt };
}

function levelsOf(files: readonly FileInfo[]): Listing {
  const byName = new Map(files.map((each) => [nameOf(each), each]));
  return Array.from({ length: 10 }, (_, level) =>
    [...byName.values()]
      .filter((each) => each.level === level)
      .toSorted((a, b) => Number(a.minTxid - b.minTxid) || Number(a.maxTxid - b.maxTxid)),
  );
}

/** A busy database: every transaction, compacted by 30 and by 300, a snapshot every 1000. A transaction takes a second. */
function history(transactions: number): Listing {
  const files: FileInfo[] = [];
  for (let txid = 1; txid <= transactions; txid += 1) {
    const ms = txid * 1000;
    files.push(file(0, txid, txid, ms));
    for (const [level, size] of [
      [1, 30],
      [2, 300],
    ] as const) {
      if (txid % size === 0) files.push(file(level, txid - size + 1, txid, ms));
    }
    if (txid % 1000 === 1) files.push(file(9, 1, txid, ms));
  }
  return levelsOf(files);
}

function outcome(plan: RestorePlan): unknown {
  return { ...plan, files: plan.files.map((each) => [nameOf(each), each.createdAt]) };
}

async function outcomeOf(work: () => RestorePlan | Promise<RestorePlan>): Promise<unknown> {
  try {
    return outcome(await work());
  } catch (error) {
    if (!(error instanceof LitestreamError)) throw error;
    return [error.code, error.message];
  }
}

test('RST-13 a plan to a time asks for few times, many at once, and lists each level once', async () => {
  const plain = levelsOf(Array.from({ length: 5000 }, (_, at) => file(0, at + 1, at + 1, at)));
  for (const [listing, last] of [
    [plain, 5],
    [history(5000), 5000],
  ] as const) {
    for (const share of [0.0011, 0.3, 0.7777, 0.9999, 2]) {
      const timestampMs = Math.floor(last * 1000 * share) + 1;
      const { client, counts } = slowTimes(listing);
      const plan = await planRestore(client, { timestampMs }, { exact: false });
      const expected = choosePlan(listing, { timestampMs });
      assert.deepEqual(plan.files.map(nameOf), expected.files.map(nameOf), `${share}`);
      assert.equal(counts.lists, 10);
      assert.ok(counts.times < 300, `${share}: ${counts.times} times of 5000`);
      assert.ok(counts.most <= 50, `${counts.most} at once`);
    }
  }
});

test('RST-13 an exact plan knows the time of each of its files, and little more', async () => {
  const listing = history(3000);
  const { client, counts } = slowTimes(listing);
  const target = { timestampMs: 1_700_500 };
  const plan = await planRestore(client, target);
  assert.deepEqual(outcome(plan), outcome(choosePlan(listing, target)));
  assert.ok(counts.times < 300, `${counts.times} times`);
});

test('RST-13 few times lead to the same plan as all of them, whatever the clocks did', async () => {
  const ranges = fc.tuple(
    fc.constantFrom(0, 0, 0, 1, 2, 9),
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 0, max: 6 }),
    fc.integer({ min: 0, max: 30 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(ranges, { maxLength: 25 }),
      fc.integer({ min: 1, max: 32 }),
      async (found, timestampMs) => {
        const listing = levelsOf(
          found.map(([level, min, more, ms]) => file(level, level === 9 ? 1 : min, min + more, ms)),
        );
        const { client } = slowTimes(listing);
        assert.deepEqual(
          await outcomeOf(() => planRestore(client, { timestampMs })),
          await outcomeOf(() => choosePlan(listing, { timestampMs })),
        );
      },
    ),
    { numRuns: RUNS },
  );
});

test('RST-13 a file that goes while its time is asked for leads to a second look', async () => {
  const listing = history(40);
  const { client, counts } = slowTimes(listing);
  const gone = formatTxid(toTxid(1));
  const timeOf = client.timeOf?.bind(client);
  let asked = 0;
  client.timeOf = async (each, options) => {
    asked += 1;
    if (asked === 1) throw new LitestreamError('ERR_STORAGE_NOT_FOUND', `${gone} is gone`);
    return (await timeOf?.(each, options)) ?? assert.fail('no time');
  };
  const plan = await planRestore(client, { timestampMs: 20_500 }, { exact: false });
  assert.equal(plan.maxTxid, 20n);
  assert.equal(counts.lists, 20);
});

test('RST-13 a time that cannot be had is an error, not another plan', async () => {
  const { client, counts } = slowTimes(history(40));
  client.timeOf = () =>
    Promise.reject(new LitestreamError('ERR_STORAGE_DENIED', 'no', { retryable: false }));
  await assert.rejects(planRestore(client, { timestampMs: 20_500 }), (error) =>
    isLitestreamError(error, 'ERR_STORAGE_DENIED'),
  );
  assert.equal(counts.lists, 10);
});
