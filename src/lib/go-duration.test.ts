import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { durationMs, formatDuration, formatDurationNs, parseDuration } from './go-duration.ts';

const PARSED: readonly (readonly [text: string, ns: bigint | undefined])[] = [
  ['1h30m', 5_400_000_000_000n],
  ['1.5s', 1_500_000_000n],
  ['-250ms', -250_000_000n],
  ['+1s', 1_000_000_000n],
  ['.5s', 500_000_000n],
  ['1.s', 1_000_000_000n],
  ['1s1s', 2_000_000_000n],
  ['1µs', 1_000n],
  ['1μs', 1_000n],
  ['1us', 1_000n],
  ['10ns', 10n],
  ['0', 0n],
  ['-0', 0n],
  ['', undefined],
  ['5', undefined],
  ['1d', undefined],
  ['s', undefined],
  ['.s', undefined],
  ['1 s', undefined],
  ['1S', undefined],
  ['9999999h', undefined],
];

for (const [text, ns] of PARSED) {
  test(`parses ${JSON.stringify(text)} as ${ns}`, () => assert.equal(parseDuration(text), ns));
}

const FORMATTED: readonly (readonly [ms: number, text: string])[] = [
  [0, '0s'],
  [0.00001, '10ns'],
  [0.12, '120µs'],
  [0.0015, '1.5µs'],
  [500, '500ms'],
  [1.5, '1.5ms'],
  [1000, '1s'],
  [1500, '1.5s'],
  [90_000, '1m30s'],
  [300_000, '5m0s'],
  [3_723_000, '1h2m3s'],
  [129_900_000, '36h5m0s'],
  [86_400_000, '24h0m0s'],
  [-5_400_000, '-1h30m0s'],
];

for (const [ms, text] of FORMATTED) {
  test(`formats ${ms} ms as ${text}`, () => assert.equal(formatDuration(ms), text));
}

test('what is formatted parses to the same value', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(1n << 62n), max: 1n << 62n }), (ns) => {
      assert.equal(parseDuration(formatDurationNs(ns)), ns);
    }),
  );
});

test('milliseconds keep nanoseconds', () => {
  assert.equal(durationMs(10n), 0.00001);
  assert.equal(durationMs(86_400_000_000_000n), 86_400_000);
});
