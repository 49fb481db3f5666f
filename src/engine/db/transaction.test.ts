import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { lockPgno } from '../../lib/page.ts';
import { PageBatch, type FrameReader } from './page-batch.ts';
import { fullTransaction, increment, type Transaction } from './transaction.ts';

const PAGE = 65536;
const LOCK = lockPgno(PAGE);
const RANGE = { offset: 32, size: 0, salt1: 1, salt2: 2 };
const FROM_FILE = 1;
const FROM_WAL = 2;

const reader: FrameReader = {
  readFrame: (_frame, _pgno, target) => {
    target.fill(FROM_WAL);
  },
};

function readPage(_pgno: number, target: Uint8Array): void {
  target.fill(FROM_FILE);
}

const FILE = { readPage, descriptor: () => -1 };

function batchOf(pgnos: Iterable<number>): PageBatch {
  const batch = new PageBatch(PAGE);
  let frame = 0;
  for (const pgno of pgnos) batch.put(pgno, frame++);
  return batch;
}

function pagesOf(transaction: Transaction, from = 0): number[] {
  const pages: number[] = [];
  for (let pgno = transaction.next(from); pgno !== 0; pgno = transaction.next(pgno)) {
    pages.push(pgno);
  }
  return pages;
}

function sourceOf(transaction: Transaction, pgno: number): number {
  const target = new Uint8Array(PAGE);
  transaction.read(pgno, target);
  return target[0] ?? -1;
}

function incrementOf(pgnos: Iterable<number>, previousCommit: number, commit: number): Transaction {
  return increment({
    batch: batchOf(pgnos),
    reader,
    readPage,
    commit,
    previousCommit,
    range: RANGE,
  });
}

test('an increment holds the captured pages in ascending order', () => {
  const transaction = incrementOf([7, 2, 5], 10, 10);
  assert.deepEqual(pagesOf(transaction), [2, 5, 7]);
  assert.equal(transaction.full, undefined);
});

test('CAP-02 pages by which the database grew without a frame come from the database file', () => {
  const transaction = incrementOf([2, 12], 10, 14);
  assert.deepEqual(pagesOf(transaction), [2, 11, 12, 13, 14]);
  assert.deepEqual(
    [2, 11, 12, 13].map((pgno) => sourceOf(transaction, pgno)),
    [FROM_WAL, FROM_FILE, FROM_WAL, FROM_FILE],
  );
});

test('pages above the size after a shrinking transaction are left out', () => {
  assert.deepEqual(pagesOf(incrementOf([2, 9, 12], 12, 5)), [2]);
});

test('CAP-11 no file holds the page of the lock bytes', () => {
  assert.deepEqual(pagesOf(incrementOf([3], LOCK - 2, LOCK + 2)), [
    3,
    LOCK - 1,
    LOCK + 1,
    LOCK + 2,
  ]);
  assert.deepEqual(pagesOf(incrementOf([3], LOCK - 1, LOCK)), [3]);
  assert.deepEqual(pagesOf(incrementOf([LOCK + 1], LOCK - 1, LOCK + 1)), [LOCK + 1]);
});

test('an increment holds exactly the captured pages and the growth, from wherever one starts', () => {
  const scene = fc.record({
    pgnos: fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 40 }),
    previousCommit: fc.integer({ min: 0, max: 60 }),
    commit: fc.integer({ min: 1, max: 60 }),
    from: fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 5 }),
  });
  fc.assert(
    fc.property(scene, ({ pgnos, previousCommit, commit, from }) => {
      const transaction = incrementOf(pgnos, previousCommit, commit);
      const expected = new Set(pgnos.filter((pgno) => pgno <= commit));
      for (let pgno = previousCommit + 1; pgno <= commit; pgno++) expected.add(pgno);
      const sorted = [...expected].sort((a, b) => a - b);
      assert.deepEqual(pagesOf(transaction), sorted);
      for (const start of from) {
        assert.deepEqual(
          pagesOf(transaction, start),
          sorted.filter((pgno) => pgno > start),
        );
      }
    }),
    { numRuns: 300 },
  );
});

test('a gathered increment needs the WAL no more', () => {
  let reads = 0;
  const counting: FrameReader = {
    readFrame: (frame, pgno, target) => {
      reads++;
      reader.readFrame(frame, pgno, target);
    },
  };
  const batch = batchOf([1, 2, 3]);
  const transaction = increment({
    batch,
    reader: counting,
    readPage,
    commit: 3,
    previousCommit: 3,
    range: RANGE,
  });
  assert.equal(transaction.gather(), true);
  assert.equal(reads, 3);
  for (const pgno of [1, 2, 3]) assert.equal(sourceOf(transaction, pgno), FROM_WAL);
  assert.equal(reads, 3);
});

function fullOf(pgnos: Iterable<number>, commit: number): Transaction {
  const reason = { reason: 'why', level: 'warn' } as const;
  return fullTransaction({
    batch: batchOf(pgnos),
    reader,
    file: FILE,
    commit,
    range: RANGE,
    reason,
  });
}

test('a full transaction holds every page, from the WAL where it is there', () => {
  const transaction = fullOf([2, 9], 4);
  assert.deepEqual(pagesOf(transaction), [1, 2, 3, 4]);
  assert.deepEqual(
    [1, 2].map((pgno) => sourceOf(transaction, pgno)),
    [FROM_FILE, FROM_WAL],
  );
  assert.equal(transaction.full?.reason, 'why');
  assert.equal(transaction.gather(), false, 'most of it is in the database file');
});

test('CAP-11 a full transaction leaves out the page of the lock bytes only', () => {
  const pages = pagesOf(fullOf([], LOCK + 1));
  assert.equal(pages.length, LOCK);
  assert.equal(pages.includes(LOCK), false);
  assert.equal(pagesOf(fullOf([], LOCK)).at(-1), LOCK - 1, 'a database that ends there');
});

test('a full transaction gives runs of pages, each from where it is', () => {
  const size = 512;
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 1, max: 40 })),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 40 }),
      (captured, first, count) => {
        const batch = new PageBatch(size);
        for (const [frame, pgno] of captured.entries()) batch.put(pgno, frame);
        let calls = 0;
        const { pages } = fullTransaction({
          batch,
          reader: { readFrame: (_frame, pgno, target) => void target.fill(100 + pgno) },
          file: {
            descriptor: () => 7,
            readPage(pgno, target) {
              calls++;
              for (let at = 0; at < target.length; at++) target[at] = pgno + Math.floor(at / size);
            },
          },
          commit: 80,
          range: RANGE,
          reason: { reason: '', level: 'info' },
        });
        const found = new Uint8Array(count * size);
        pages?.read(first, count, found);
        const inWal = new Set(captured);
        for (let at = 0; at < count; at++) {
          const pgno = first + at;
          const expected = inWal.has(pgno) ? 100 + pgno : pgno;
          const page = found.subarray(at * size, (at + 1) * size);
          assert.ok(page.every((byte) => byte === expected));
          assert.equal(pages?.isInFile(pgno), !inWal.has(pgno));
        }
        assert.equal(pages?.descriptor(), 7);
        assert.ok(calls <= captured.length + 1, 'adjacent pages are read at once');
      },
    ),
    { numRuns: 200 },
  );
});

test('CAP-11 a run over the page of the lock bytes does not ask the file for it', () => {
  const reads: (readonly [number, number])[] = [];
  const { pages } = fullTransaction({
    batch: batchOf([LOCK + 1]),
    reader,
    file: {
      descriptor: () => -1,
      readPage: (pgno, target) => void reads.push([pgno, target.length / PAGE]),
    },
    commit: LOCK + 1,
    range: RANGE,
    reason: { reason: '', level: 'info' },
  });
  pages?.read(LOCK - 2, 4, new Uint8Array(4 * PAGE));
  assert.deepEqual(reads, [[LOCK - 2, 2]]);
});
