import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  decodeHeader,
  decodeLtxFile,
  encodePageIndex,
  LTX_NO_CHECKSUM,
  type LtxHeader,
  PAGE_HEADER_SIZE,
  PageIndex,
  toTxid,
} from '../formats/ltx/index.ts';
import { isLitestreamError } from '../lib/errors.ts';
import { lockPgno } from '../lib/page.ts';
import { IndexReader } from './index-reader.ts';
import { foldFrame, PageKernel } from './page-kernel.ts';
import { PageOwners } from './page-owners.ts';
import { encodeTestFile } from './test-replica.ts';
import { writeSpans } from './write-spans.ts';

const RUNS = process.env['SLOW'] === '1' ? 5000 : 300;

function headerFor(min: number, commit: number, pageSize = 512): LtxHeader {
  return {
    flags: LTX_NO_CHECKSUM,
    pageSize,
    commit,
    minTxid: toTxid(min),
    maxTxid: toTxid(min),
    timestampMs: 0,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
}

type Frame = readonly [pgno: number, size: number];

function encodeIndex(frames: readonly Frame[]): { entries: Uint8Array; base: number } {
  const sizes = frames.map(([, size]) => size);
  const index = PageIndex.fromFrames({
    length: frames.length,
    pgnoAt: (at) => frames[at]?.[0] ?? 0,
    sizeAt: (at) => sizes[at] ?? 0,
  });
  const base = 100 + sizes.reduce((sum, size) => sum + size, 0) + PAGE_HEADER_SIZE;
  return { entries: encodePageIndex(index).subarray(0, -8), base };
}

function readIndex(
  header: LtxHeader,
  entries: Uint8Array,
  base: number,
  step = entries.length,
): Frame[] {
  const found: Frame[] = [];
  const reader = new IndexReader(
    header,
    base,
    (pgno, _offset, size) => void found.push([pgno, size]),
  );
  for (let at = 0; at < entries.length; at += step) reader.push(entries.subarray(at, at + step));
  reader.end();
  return found;
}

const ascendingFrames = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 7, max: 70_000 })), {
    maxLength: 50,
    selector: ([pgno]) => pgno,
  })
  .map((frames) => frames.toSorted(([a], [b]) => a - b));

test('reads an index from pieces of any size', () => {
  fc.assert(
    fc.property(ascendingFrames, fc.integer({ min: 1, max: 9 }), (frames, step) => {
      const { entries, base } = encodeIndex(frames);
      assert.deepEqual(readIndex(headerFor(2, 1e6), entries, base, step), frames);
    }),
    { numRuns: RUNS },
  );
});

test('reads offsets beyond 32 bits', () => {
  const frames = Array.from({ length: 5000 }, (_, at): Frame => [at + 2, 1_000_000]);
  const { entries, base } = encodeIndex(frames);
  assert.ok(base > 2 ** 32);
  assert.equal(readIndex(headerFor(2, 6000), entries, base, 1000).length, 5000);
});

test('a damaged index gives an error or other frames, never anything else', () => {
  fc.assert(
    fc.property(ascendingFrames, fc.nat(), fc.nat(7), (frames, at, bit) => {
      const { entries, base } = encodeIndex(frames);
      entries[at % entries.length] = (entries[at % entries.length] ?? 0) ^ (1 << bit);
      try {
        readIndex(headerFor(2, 1e6), entries, base);
      } catch (error) {
        assert.ok(isLitestreamError(error, 'ERR_LTX_CORRUPTED'), String(error));
      }
    }),
    { numRuns: RUNS },
  );
});

test('an index is judged the same in pieces as in one', () => {
  const change = fc.record({ at: fc.nat(), bit: fc.nat(7) });
  const outcome = (read: () => Frame[]): unknown => {
    try {
      return read();
    } catch (error) {
      assert.ok(isLitestreamError(error, 'ERR_LTX_CORRUPTED'), String(error));
      return [error.message, error.details];
    }
  };
  fc.assert(
    fc.property(
      ascendingFrames,
      fc.boolean(),
      fc.array(change, { maxLength: 2 }),
      fc.integer({ min: 1, max: 100 }),
      (frames, snapshot, changes, step) => {
        const kept = snapshot ? frames.map(([, size], at): Frame => [at + 1, size]) : frames;
        const header = headerFor(snapshot ? 1 : 2, snapshot ? kept.length : 1e6);
        const { entries, base } = encodeIndex(kept);
        for (const { at, bit } of changes) {
          entries[at % entries.length] = (entries[at % entries.length] ?? 0) ^ (1 << bit);
        }
        const found = outcome(() => readIndex(header, entries, base, step));
        // One byte at a time nothing is taken in one go.
        assert.deepEqual(
          found,
          outcome(() => readIndex(header, entries, base, 1)),
        );
      },
    ),
    { numRuns: RUNS },
  );
});

function refuses(header: LtxHeader, frames: readonly Frame[], message: RegExp): void {
  const { entries, base } = encodeIndex(frames);
  assert.throws(() => readIndex(header, entries, base), { code: 'ERR_LTX_CORRUPTED', message });
}

test('enforces the rules of page numbers', () => {
  refuses(headerFor(2, 5), [[6, 50]], /page number 6 out-of-bounds for commit size 5/);
  refuses(
    headerFor(1, 3),
    [
      [1, 50],
      [3, 50],
    ],
    /nonsequential page numbers in snapshot transaction: 1,3/,
  );
  refuses(
    headerFor(1, 3),
    [
      [1, 50],
      [2, 50],
    ],
    /incomplete snapshot: page 3 is missing/,
  );
  const lock = lockPgno(65536);
  refuses(headerFor(2, lock + 1, 65536), [[lock, 50]], /lock page in file: pgno=16385/);
  const around = Array.from({ length: lock + 1 }, (_, at): Frame => [at + 1, 50]).filter(
    ([pgno]) => pgno !== lock,
  );
  const { entries, base } = encodeIndex(around);
  assert.equal(readIndex(headerFor(1, lock + 1, 65536), entries, base).length, lock);
});

test('the newest file owns a page, in whatever order files come', () => {
  for (const files of [3, 70_000]) {
    const owners = PageOwners.create(4, files);
    for (const [file, pgno] of [
      [2, 1],
      [0, 1],
      [1, 2],
      [0, 2],
      [0, 9],
    ] as const)
      owners.add(file, pgno);
    assert.deepEqual(
      [owners.isNewest(2, 1), owners.isNewest(0, 1), owners.isNewest(1, 2), owners.isNewest(0, 9)],
      [true, false, true, false],
    );
    assert.throws(
      () => owners.checkComplete(512),
      /nonsequential page numbers in snapshot transaction: 2,the end/,
    );
    owners.add(files - 1, 3);
    owners.add(0, 4);
    owners.checkComplete(512);
    assert.equal(owners.isNewest(files - 1, 3), true);
  }
});

test('the lock page may be missing from all files', () => {
  const lock = lockPgno(65536);
  const owners = PageOwners.create(lock + 1, 1);
  for (let pgno = 1; pgno <= lock + 1; pgno += 1) if (pgno !== lock) owners.add(0, pgno);
  owners.checkComplete(65536);
});

test('spans write every newest page of a run, at its place, and bridge only with pages of the first file', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 200 }),
      fc.infiniteStream(fc.boolean()),
      fc.constantFrom(0, 1),
      (numbers, newest, file) => {
        const pgnos = numbers.toSorted((a, b) => a - b);
        const owners = PageOwners.create(280, 3);
        for (const pgno of pgnos) {
          owners.add(file, pgno);
          if (newest.next().value === true) owners.add(2, pgno);
        }
        const pgnoAt = (at: number): number => pgnos[at] ?? 0;
        const written = new Map<number, number>();
        for (const { from, to, position } of writeSpans({
          owners,
          pageSize: 1024,
          file,
          pages: pgnos.length,
          pgnoAt,
        })) {
          assert.ok(to > from && (to - from) * 1024 <= 128 * 1024);
          for (let at = from; at < to; at += 1)
            written.set(position / 1024 + (at - from) + 1, pgnoAt(at));
        }
        for (const [place, pgno] of written) {
          assert.equal(place, pgno);
          assert.ok(pgno !== 1 && pgno <= 280);
          assert.ok(file === 0 || owners.isNewest(file, pgno));
        }
        for (const pgno of pgnos)
          assert.equal(written.has(pgno) || pgno === 1 || !owners.isNewest(file, pgno), true);
      },
    ),
    { numRuns: RUNS },
  );
});

test('decodes runs of block and LZ4-frame pages, mixed', () => {
  const kernel = new PageKernel();
  const pages = [1, 2, 3, 4, 5, 6].map((pgno) => ({
    pgno,
    data: new Uint8Array(1024).fill(pgno * 40).fill(7, 0, pgno * 100),
  }));
  const encode = (payload: 'block' | 'frame'): Uint8Array =>
    encodeTestFile({ level: 0, min: 1, max: 1, commit: 6, pages, payload }, 1024);
  const frames = (bytes: Uint8Array): Uint8Array[] => {
    assert.equal(decodeHeader(bytes).commit, 6);
    const sizes = frameSizes(bytes);
    let at = 100;
    return sizes.map((size) => bytes.subarray(at, (at += size)));
  };
  const [blocks, legacy] = [frames(encode('block')), frames(encode('frame'))];
  for (let mask = 0; mask < 64; mask += 1) {
    const chosen = pages.map(
      (_, at) => ((mask >> at) & 1 ? legacy[at] : blocks[at]) ?? new Uint8Array(),
    );
    const run = Uint8Array.from(chosen.flatMap((frame) => [...frame]));
    kernel.input(run.length).set(run);
    const decoded = kernel.decode(run.length, 1024, 100);
    assert.equal(decoded.pages, 6);
    assert.equal(
      decoded.fold,
      chosen.reduce((fold, frame, at) => foldFrame(fold, at + 1, frame.length), 0),
    );
    for (const [at, { pgno, data }] of pages.entries()) {
      assert.equal(kernel.pgnoAt(at), pgno);
      assert.deepEqual(Uint8Array.from(kernel.pages(at, at + 1)), data);
    }
  }
  kernel.close();
});

/** Sizes of a file's frames, from its index. */
function frameSizes(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const indexSize = Number(view.getBigUint64(bytes.length - 24));
  const base = bytes.length - 24 - indexSize;
  const sizes: number[] = [];
  const reader = new IndexReader(
    decodeHeader(bytes),
    base,
    (_pgno, _offset, size) => void sizes.push(size),
  );
  reader.push(bytes.subarray(base, base + indexSize));
  reader.end();
  assert.equal(decodeLtxFile(bytes).pages.length, sizes.length);
  return sizes;
}
