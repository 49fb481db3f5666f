import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PublishTimes } from './publish-times.ts';

test('the oldest transaction that a replica lacks keeps its time until all replicas have it', () => {
  const times = new PublishTimes();
  assert.equal(times.firstAbove(0n), undefined);
  times.note(3n, 30);
  times.note(4n, 40);
  assert.equal(times.firstAbove(0n), 30);
  times.noteOld(1n, 10);
  assert.equal(times.firstAbove(0n), 10);
  times.trim(3n);
  assert.equal(times.firstAbove(0n), 40);
  assert.equal(times.firstAbove(4n), undefined);
  times.trim(4n);
  assert.equal(times.firstAbove(0n), undefined);
});

test('numbers that start over make the times before them worthless', () => {
  const times = new PublishTimes();
  times.note(7n, 70);
  times.note(2n, 80);
  assert.equal(times.firstAbove(0n), 80);
});

test('a long outage makes the times coarser by a bounded amount, and keeps the oldest', () => {
  const times = new PublishTimes();
  for (let txid = 1n; txid <= 100_000n; txid++) times.note(txid, Number(txid));
  assert.equal(times.firstAbove(0n), 1);
  for (const position of [1n, 999n, 50_000n, 99_000n]) {
    const found = times.firstAbove(position) ?? 0;
    assert.ok(found > Number(position) && found <= Number(position) + 256, `${position}: ${found}`);
  }
});
