import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  decodePageIndex,
  encodePageIndex,
  FrameTable,
  locatePageIndex,
  PageIndex,
  pageIndexLength,
  putUvarint,
  writePageIndex,
} from './index.ts';
import { UvarintReader, uvarintLength } from './varint.ts';

function uvarint(value: number): number[] {
  const bytes = new Uint8Array(10);
  return [...bytes.subarray(0, putUvarint(bytes, 0, value))];
}

/** An index of raw values with a right size behind it. */
function raw(...bytes: readonly number[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(...bytes, 0, 0, 0, 0, 0, 0, 0, bytes.length);
}

describe('uvarints', () => {
  test('have the bytes of the format description', () => {
    assert.deepEqual(uvarint(0), [0]);
    assert.deepEqual(uvarint(100), [0x64]);
    assert.deepEqual(uvarint(127), [0x7f]);
    assert.deepEqual(uvarint(128), [0x80, 0x01]);
    assert.deepEqual(uvarint(289), [0xa1, 0x02]);
    assert.deepEqual(uvarint(16384), [0x80, 0x80, 0x01]);
    assert.deepEqual(uvarint(2 ** 32), [0x80, 0x80, 0x80, 0x80, 0x10]);
  });

  test('are read back up to 2^53-1', () => {
    const value = fc.oneof(fc.nat(300), fc.maxSafeNat(), fc.constant(Number.MAX_SAFE_INTEGER));
    fc.assert(
      fc.property(fc.array(value), (values) => {
        const reader = new UvarintReader();
        const found: number[] = [];
        for (const byte of values.flatMap(uvarint)) if (reader.push(byte)) found.push(reader.value);
        assert.deepEqual(found, values);
        assert.equal(reader.invalid, false);
        for (const item of values) assert.equal(uvarintLength(item), uvarint(item).length);
      }),
    );
  });

  test('are refused if they are padded, too long or above 2^53-1', () => {
    const bad = [
      [0x80, 0x00],
      [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x10],
      [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
    ];
    for (const bytes of bad) {
      const reader = new UvarintReader();
      assert.ok(bytes.some((byte) => reader.push(byte)));
      assert.equal(reader.invalid, true);
    }
  });
});

describe('page index', () => {
  const frames = fc
    .uniqueArray(fc.integer({ min: 1, max: 0xffff_ffff }), { maxLength: 200 })
    .chain((pgnos) =>
      fc.record({
        pgnos: fc.constant(pgnos.toSorted((a, b) => a - b)),
        sizes: fc.array(fc.integer({ min: 11, max: 66000 }), {
          minLength: pgnos.length,
          maxLength: pgnos.length,
        }),
      }),
    );

  test('what is encoded is found and decoded again', () => {
    fc.assert(
      fc.property(frames, ({ pgnos, sizes }) => {
        const table = new FrameTable();
        pgnos.forEach((pgno, at) => {
          table.push(pgno, sizes[at] ?? 0);
        });
        const bytes = encodePageIndex(table);
        assert.equal(bytes.length, pageIndexLength(table));
        const offset = 106 + sizes.reduce((sum, size) => sum + size, 0);
        const fileSize = offset + bytes.length + 16;
        const tail = Uint8Array.of(...bytes.subarray(-8), ...new Uint8Array(16));
        assert.deepEqual(locatePageIndex(tail, fileSize), { offset, length: bytes.length });
        const index = decodePageIndex(bytes, offset);
        assert.deepEqual([...index.pgnos], pgnos);
        assert.deepEqual(
          pgnos.map((_, at) => index.sizeAt(at)),
          sizes,
        );
        for (const [at, pgno] of pgnos.entries()) assert.equal(index.find(pgno), at);
        assert.equal(index.find(0), -1);
        assert.deepEqual(encodePageIndex(index), bytes);
      }),
    );
  });

  test('a table grows past its chunks without losing an entry', () => {
    const table = new FrameTable();
    const count = 200_000;
    for (let at = 0; at < count; at++) table.push(at * 3 + 1, at + 11);
    assert.equal(table.length, count);
    for (let at = 0; at < count; at++) {
      if (table.pgnoAt(at) !== at * 3 + 1 || table.sizeAt(at) !== at + 11) assert.fail(`${at}`);
    }
  });

  test('is written in pieces of at most 64 KiB', () => {
    const table = new FrameTable();
    for (let at = 1; at <= 30_000; at++) table.push(at, 500);
    const sizes: number[] = [];
    const total = writePageIndex(table, (piece) => {
      sizes.push(piece.length);
    });
    assert.ok(sizes.length > 2 && sizes.every((size) => size <= 65536));
    assert.equal(total, pageIndexLength(table));
  });

  const REJECTED: readonly (readonly [string, Uint8Array, number])[] = [
    ['page numbers that do not ascend', raw(2, 100, 34, 2, 134, 1, 34, 0), 174],
    ['page number above 32 bits', raw(0x80, 0x80, 0x80, 0x80, 0x10, 100, 34, 0), 140],
    ['a first frame behind byte 100', raw(1, 101, 34, 0), 141],
    ['a gap between frames', raw(1, 100, 34, 2, 0x87, 0x01, 34, 0), 175],
    ['overlapping frames', raw(1, 100, 34, 2, 0x85, 0x01, 34, 0), 173],
    ['frames that end before the end marker', raw(1, 100, 34, 0), 150],
    ['frames that reach into the index', raw(1, 100, 34, 0), 130],
    ['an empty frame', raw(1, 100, 0, 0), 106],
    ['a frame without payload', raw(1, 100, 6, 0), 112],
    ['a frame larger than any page', raw(1, 100, 0x80, 0x80, 0x80, 0x80, 0x10, 0), 2 ** 32 + 106],
    ['a missing terminator', raw(1, 100, 34), 140],
    ['bytes behind the terminator', raw(1, 100, 34, 0, 0), 140],
    ['a padded number', raw(0x81, 0x00, 100, 34, 0), 140],
    ['a cut entry', raw(1, 100, 0), 140],
    ['a cut number', raw(1, 100, 0x80), 140],
    ['no terminator at all', new Uint8Array(8), 106],
    ['an offset in the header', raw(0), 6],
  ];
  for (const [what, bytes, offset] of REJECTED) {
    test(`rejects ${what}`, () => {
      assert.throws(() => decodePageIndex(bytes, offset), { code: 'ERR_LTX_CORRUPTED' });
    });
  }

  test('rejects an index size that disagrees with the bytes', () => {
    const bytes = raw(1, 100, 34, 0);
    bytes[bytes.length - 1] = 5;
    assert.throws(
      () => decodePageIndex(bytes, 140),
      /invalid page index size .*expected 4, found 5/,
    );
  });

  test('rejects an index size that does not fit in the file', () => {
    for (const size of [0n, 39n, 2n ** 63n, 2n ** 64n - 1n]) {
      const tail = new Uint8Array(24);
      new DataView(tail.buffer).setBigUint64(0, size);
      assert.throws(() => locatePageIndex(tail, 168), /expected 1 to 38/);
    }
  });

  test('rejects a tail or file that is too short', () => {
    const text = /ltx file too short to contain a page index: 23 bytes/;
    assert.throws(() => locatePageIndex(new Uint8Array(23), 1000), text);
    assert.throws(() => locatePageIndex(new Uint8Array(24), 23), text);
  });

  test('a file without pages has the index 00', () => {
    const empty = PageIndex.fromFrames(new FrameTable());
    assert.deepEqual(encodePageIndex(empty), raw(0));
    assert.equal(decodePageIndex(raw(0), 106).length, 0);
  });
});
