import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CheckpointSchedule } from './checkpoint-schedule.ts';

const THRESHOLDS = { minCheckpointPages: 100, checkpointIntervalMs: 60_000 };

test('CHK-10 nothing is due without frames, however long it was', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  assert.equal(schedule.due(0, 1e9), false);
});

test('enough frames are due at once', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  assert.equal(schedule.due(99, 0), false);
  assert.equal(schedule.due(100, 0), true);
});

test('a few frames are due when they have waited for the interval', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  assert.equal(schedule.due(1, 1_000_000), false, 'they came now');
  assert.equal(schedule.due(2, 1_059_999), false);
  assert.equal(schedule.due(2, 1_060_000), true);
});

test('frames that another connection moved begin to wait anew', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  schedule.due(1, 0);
  schedule.due(0, 30_000);
  assert.equal(schedule.due(1, 70_000), false);
  assert.equal(schedule.due(1, 130_000), true);
});

test('an interval of 0 leaves only the size', () => {
  const schedule = new CheckpointSchedule({ ...THRESHOLDS, checkpointIntervalMs: 0 }, 0);
  schedule.due(1, 0);
  assert.equal(schedule.due(1, 1e12), false);
  assert.equal(schedule.due(100, 1e12), true);
});

test('CHK-12 a blocked checkpoint is tried again after 1, 2, 4 … 60 s', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  let now = 0;
  const waits: number[] = [];
  for (let round = 0; round < 9; round++) {
    assert.equal(schedule.due(150, now), true);
    schedule.note('blocked', 150, now);
    const from = now;
    while (!schedule.due(150, now)) now += 100;
    waits.push((now - from) / 1000);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
});

test('a blocked checkpoint is tried earlier when as many frames again have come', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  schedule.due(150, 0);
  schedule.note('blocked', 150, 0);
  assert.equal(schedule.due(249, 10), false);
  assert.equal(schedule.due(250, 10), true);
});

test('success ends the backoff', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  schedule.due(150, 0);
  for (let round = 0; round < 5; round++) schedule.note('blocked', 150, 0);
  schedule.note('complete', 0, 1);
  assert.equal(schedule.due(100, 2), true);
  schedule.note('blocked', 100, 2);
  assert.equal(schedule.due(100, 1001), false);
  assert.equal(schedule.due(100, 1002), true, 'the first wait is a second again');
});

test('a contended checkpoint may go on at once', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  schedule.due(150, 0);
  schedule.note('contended', 150, 0);
  assert.equal(schedule.due(150, 0), true);
});

test('CHK-06 a WAL that cannot shrink is spoken of at 2, 10, 50 and 250 times the threshold', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  assert.equal(schedule.alarm(1_000_000), undefined, 'nothing was blocked');
  schedule.due(100, 0);
  const alarms: number[] = [];
  for (let pending = 100; pending <= 60_000; pending += 100) {
    schedule.note('blocked', pending, pending);
    if (schedule.alarm(pending) !== undefined) alarms.push(pending);
  }
  assert.deepEqual(alarms, [200, 1000, 5000, 25_000]);
});

test('CHK-06 a WAL that grows while a snapshot reads is spoken of, and checkpointed as soon as it can be', () => {
  const schedule = new CheckpointSchedule(THRESHOLDS, 0);
  const alarms: number[] = [];
  for (let pending = 100; pending <= 6000; pending += 100) {
    schedule.held(pending);
    if (schedule.alarm(pending) !== undefined) alarms.push(pending);
  }
  assert.deepEqual(alarms, [200, 1000, 5000]);
  assert.equal(schedule.due(6000, 6001), true);
  schedule.note('complete', 0, 6001);
  assert.equal(schedule.alarm(1_000_000), undefined);
});
