import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatRfc3339, parseRfc3339 } from './time-text.ts';

describe('times as text', () => {
  it('drops trailing zeros of the fraction', () => {
    const at = Date.UTC(2026, 0, 2, 3, 4, 5);
    const texts: readonly (readonly [number, string])[] = [
      [678, '2026-01-02T03:04:05.678Z'],
      [670, '2026-01-02T03:04:05.67Z'],
      [600, '2026-01-02T03:04:05.6Z'],
      [7, '2026-01-02T03:04:05.007Z'],
      [0, '2026-01-02T03:04:05Z'],
    ];
    for (const [ms, text] of texts) assert.equal(formatRfc3339(at + ms), text);
    assert.equal(formatRfc3339(Date.UTC(2026, 0, 10, 20, 30, 0)), '2026-01-10T20:30:00Z');
  });

  it('reads any offset and any number of digits', () => {
    const at = Date.UTC(2026, 0, 2, 3, 4, 5);
    const texts: readonly (readonly [string, number])[] = [
      ['2026-01-02T03:04:05.123456789Z', 123],
      ['2026-01-02T05:04:05.5+02:00', 500],
      ['2026-01-01T22:34:05.001-04:30', 1],
      ['2026-01-02T05:04:05+0200', 0],
      ['2026-01-02t03:04:05z', 0],
      ['2026-01-02 03:04:05.000000Z', 0],
    ];
    for (const [text, ms] of texts) assert.equal(parseRfc3339(text), at + ms, text);
    for (const text of ['', 'x', '2026-01-02', '2026-13-02T03:04:05Z', '2026-01-02T25:04:05Z']) {
      assert.equal(parseRfc3339(text), undefined, text);
    }
  });

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (ms) => {
        assert.equal(parseRfc3339(formatRfc3339(ms)), ms);
      }),
    );
  });
});
