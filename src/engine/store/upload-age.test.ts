import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UploadAge } from './upload-age.ts';

const AGE_MS = 64_000;

test('a position counts once it is as old as was asked for; what was found counts at once', () => {
  const age = new UploadAge();
  const at = (now: number, position: bigint): bigint =>
    age.settled(position, 5n, { now, ageMs: AGE_MS });
  assert.equal(at(0, 7n), 5n);
  assert.equal(at(60_000, 9n), 5n);
  assert.equal(at(64_000, 9n), 7n);
  assert.equal(at(124_000, 9n), 9n);
});

test('under steady load positions come of age, and few are kept', () => {
  const age = new UploadAge();
  let settled = 0n;
  for (let now = 0; now <= 300_000; now += 100) {
    settled = age.settled(BigInt(now / 100), 0n, { now, ageMs: AGE_MS });
  }
  const behind = 3000n - settled;
  assert.ok(behind >= 640n && behind <= 660n, `${behind} tenths of a second`);
});

test('a replica that is begun anew, and a clock that is set back, hold nothing for ever', () => {
  const age = new UploadAge();
  assert.equal(age.settled(9n, 0n, { now: 1_000_000, ageMs: AGE_MS }), 0n);
  assert.equal(age.settled(9n, 0n, { now: 5, ageMs: AGE_MS }), 0n);
  assert.equal(age.settled(9n, 0n, { now: 5 + AGE_MS, ageMs: AGE_MS }), 9n);
  assert.equal(age.settled(3n, 3n, { now: 6 + AGE_MS, ageMs: AGE_MS }), 3n);
});
