import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  checksumPair,
  Crc64,
  crc64,
  crc64Combine,
  lz4Bound,
  lz4Compress,
  lz4Decompress,
  walChecksum,
  walChecksumBigEndian,
  walChecksumBytes,
  Xxh32,
  xxh32,
  type ChecksumPair,
} from './index.ts';
import { crc64Oracle, noise, pageSizes, text } from './test-data.ts';
import { isLitestreamError } from '../lib/errors.ts';

const RUNS = process.env['SLOW'] === '1' ? 5000 : 200;

describe('crc64', () => {
  test('gives the reference values', () => {
    const cases: readonly (readonly [Uint8Array, bigint])[] = [
      [text(''), 0n],
      [text('123456789'), 0xb90956c775a41001n],
      [text('a'), 0x3420000000000000n],
      [Uint8Array.of(0), 0x6f90000000000000n],
      [Uint8Array.of(255), 0xff00000000000000n],
      [new Uint8Array(8), 0xacffffffffffffffn],
      [text('Litestream'), 0x69873dcdd87c72c8n],
    ];
    for (const [bytes, expected] of cases) assert.equal(crc64(bytes), expected);
  });

  test('agrees with the byte-wise table for every length from 0 to 5000', () => {
    const bytes = noise(5000, 1);
    const expected = crc64Oracle(bytes);
    for (let length = 0; length <= 5000; length++) {
      assert.equal(crc64(bytes.subarray(0, length)), expected[length], `length ${length}`);
    }
  });

  test('handles input that starts with eight bytes of ones', () => {
    const bytes = noise(3000, 2);
    bytes.fill(255, 0, 8);
    assert.equal(crc64(bytes), crc64Oracle(bytes)[3000]);
  });

  test('gives the same digest for any split, and reading it does not disturb the state', () => {
    const bytes = noise(20_000, 3);
    const expected = crc64Oracle(bytes);
    fc.assert(
      fc.property(fc.array(fc.nat(3000), { maxLength: 20 }), (lengths) => {
        const crc = new Crc64();
        let at = 0;
        for (const length of lengths) {
          const next = Math.min(at + length, bytes.length);
          crc.update(bytes.subarray(at, next));
          at = next;
          assert.equal(crc.digest(), expected[at]);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test('combines parts, as finished values and as raw registers', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 3000 }),
        fc.uint8Array({ maxLength: 3000 }),
        (a, b) => {
          const whole = new Crc64().update(a).update(b);
          assert.equal(crc64Combine(crc64(a), crc64(b), b.length), whole.digest());
          const first = new Crc64().update(a).state();
          const second = new Crc64(0n).update(b).state();
          assert.equal(crc64Combine(first, second, b.length), whole.state());
        },
      ),
      { numRuns: RUNS },
    );
  });

  test('combines over lengths beyond 2^32', () => {
    const chunk = new Crc64(0n).update(new Uint8Array(1 << 20)).state();
    let step = 0n;
    for (let index = 0; index < 5000; index++) step = crc64Combine(step, chunk, 1 << 20);
    assert.equal(step, 0n);
    const start = 0x0123456789abcdefn;
    let expected = start;
    for (let index = 0; index < 5000; index++) expected = crc64Combine(expected, 0n, 1 << 20);
    assert.equal(crc64Combine(start, 0n, 5000 * (1 << 20)), expected);
  });
});

describe('xxh32', () => {
  test('gives the reference values', () => {
    assert.equal(xxh32(text('')), 0x02cc5d05);
    assert.equal(xxh32(new Uint8Array(512).fill(0x31)), 0x98212d5e);
    assert.equal((xxh32(Uint8Array.of(0x64, 0x40)) >>> 8) & 255, 0xa7);
    assert.equal((xxh32(Uint8Array.of(0x64, 0x70)) >>> 8) & 255, 0xb9);
    assert.equal(xxh32(text('Nobody inspects the spammish repetition')), 0xe2293b2f);
  });

  test('is the same in pieces', () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 12 });
    fc.assert(
      fc.property(pieces, fc.nat(), (parts, seed) => {
        const hash = new Xxh32(seed);
        for (const part of parts) {
          hash.update(part);
          hash.digest();
        }
        assert.equal(
          hash.digest(),
          xxh32(Uint8Array.from(parts.flatMap((part) => [...part])), seed),
        );
      }),
    );
  });
});

function hex(pair: ChecksumPair): string {
  return Array.from(pair, (word) => (word >>> 0).toString(16).padStart(8, '0')).join(' ');
}

/** Header and two frames of the synthetic WAL of formats 6.3; returns the three running checksums. */
function syntheticWal(magic: number): string[] {
  const wal = new Uint8Array(32 + 2 * 536);
  const view = new DataView(wal.buffer);
  [magic, 3007000, 512, 0, 0x11223344, 0x55667788].forEach((word, index) => {
    view.setUint32(index * 4, word);
  });
  view.setUint32(32, 1);
  view.setUint32(32 + 536, 2);
  view.setUint32(32 + 536 + 4, 2);
  wal.fill(0x31, 56, 56 + 512);
  wal.fill(0x32, 56 + 536, 56 + 536 + 512);
  const words = new Int32Array(wal.buffer);
  const sum = magic === 0x377f0683 ? walChecksumBigEndian : walChecksum;
  const pair = checksumPair();
  const results: string[] = [];
  sum(words, 0, 6, pair);
  results.push(hex(pair));
  for (const start of [32, 32 + 536]) {
    sum(words, start / 4, start / 4 + 2, pair);
    sum(words, (start + 24) / 4, (start + 536) / 4, pair);
    results.push(hex(pair));
  }
  return results;
}

describe('walChecksum', () => {
  test('sums words in the order the magic gives', () => {
    const bytes = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7);
    const little = checksumPair();
    const big = checksumPair();
    walChecksumBytes(bytes, false, little);
    walChecksumBytes(bytes, true, big);
    assert.equal(hex(little), '03020100 0a080604');
    assert.equal(hex(big), '00010203 0406080a');
  });

  test('chains over the header and frames of a WAL in both orders', () => {
    assert.deepEqual(syntheticWal(0x377f0682), [
      '18fe2524 594f631e',
      '9e50766b 95480450',
      'bc4cea98 99b05c09',
    ]);
    assert.deepEqual(syntheticWal(0x377f0683), [
      '2726fe1b 23664f5c',
      '81b323cd 14c9d346',
      '5f20aae4 35d403af',
    ]);
  });

  test('gives the same for aligned words and for bytes', () => {
    for (const pairs of [0, 1, 3, 4, 5, 63, 512]) {
      const bytes = noise(pairs * 8, pairs);
      const words = new Int32Array(bytes.buffer);
      for (const bigEndian of [false, true]) {
        const a = checksumPair(1, 2);
        const b = checksumPair(1, 2);
        (bigEndian ? walChecksumBigEndian : walChecksum)(words, 0, pairs * 2, a);
        walChecksumBytes(bytes, bigEndian, b);
        assert.deepEqual(a, b);
      }
    }
  });
});

function roundTrip(source: Uint8Array): number {
  const block = new Uint8Array(lz4Bound(source.length));
  const size = lz4Compress(source, block);
  const result = new Uint8Array(source.length);
  lz4Decompress(block.subarray(0, size), result);
  assert.deepEqual(result, source);
  return size;
}

describe('lz4', () => {
  test('returns zeros, short periods, noise and text of every page size unchanged', () => {
    for (const size of pageSizes) {
      assert.ok(roundTrip(new Uint8Array(size)) < size / 100 + 16);
      roundTrip(noise(size, size));
      for (let period = 1; period <= 16; period++) {
        roundTrip(noise(size, 5).map((_, index, all) => all[index % period] ?? 0));
      }
      roundTrip(text('the quick brown fox jumps over the lazy dog 0123456789 ', size));
    }
  });

  test('returns any bytes unchanged, tiny ones and those beyond the match window included', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300, max: 3 }), (bytes) => {
        roundTrip(bytes);
      }),
      { numRuns: RUNS * 5 },
    );
    const large = noise(200_000, 9);
    large.copyWithin(70_000, 0, 30_000);
    large.copyWithin(150_000, 100_000, 140_000);
    assert.ok(roundTrip(large) < 170_000);
  });

  test('keeps the end-of-block rules that other decoders rely on', () => {
    const block = new Uint8Array(lz4Bound(512));
    const size = lz4Compress(new Uint8Array(512).fill(0x31), block);
    assert.ok((block[size - 6] ?? 0) >>> 4 >= 5 || size < 6);
  });

  test('decodes the documented block', () => {
    const block = Uint8Array.from(
      Buffer.from('1f310100ffda000200000200b03131313131313131313131', 'hex'),
    );
    const page = new Uint8Array(512);
    lz4Decompress(block, page);
    assert.deepEqual(page, new Uint8Array(512).fill(0x31));
  });

  test('names the offset of a malformed block', () => {
    const cases: readonly (readonly [string, number, string])[] = [
      ['', 0, 'token'],
      ['10310000', 2, 'match offset'],
      ['10310200', 2, 'match offset'],
      ['103101', 2, 'match offset'],
      ['1031', 2, 'output'],
      ['f0', 1, 'literal length'],
      ['50313131', 1, 'literals'],
      ['f0ffff', 3, 'literal length'],
      ['f0ff0031', 3, 'literals'],
      ['1f3101', 2, 'match offset'],
      ['1f310100', 4, 'match length'],
      ['1f3101000f', 5, 'output'],
      ['1031010000', 5, 'output'],
      ['10310100', 4, 'token'],
    ];
    for (const [block, offset, field] of cases) {
      assert.throws(
        () => {
          lz4Decompress(Uint8Array.from(Buffer.from(block, 'hex')), new Uint8Array(16));
        },
        (error) =>
          isLitestreamError(error, 'ERR_LZ4') &&
          error.details['offset'] === offset &&
          error.details['field'] === field,
        block,
      );
    }
  });

  test('refuses a target that could overflow', () => {
    assert.throws(() => lz4Compress(new Uint8Array(100), new Uint8Array(100)), {
      code: 'ERR_ASSERTION',
    });
  });
});
