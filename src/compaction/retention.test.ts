import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { toTxid } from '../formats/ltx/index.ts';
import { choosePlan } from '../restore/plan.ts';
import type { FileInfo } from '../storage/index.ts';
import { nextBoundary, previousBoundary } from './boundary.ts';
import { chooseInputs, groupByInterval, newestOf } from './chain.ts';
import {
  isMassDeletion,
  planLevel0Retention,
  planLevelRetention,
  planSnapshotRetention,
} from './retention.ts';

const runs = process.env['SLOW'] === '1' ? 3000 : 300;
const HOUR = 3_600_000;
const START_MS = 1_735_689_600_000;

function file(level: number, min: number, max: number, createdAt: number): FileInfo {
  return { level, minTxid: toTxid(min), maxTxid: toTxid(max), size: 1000, createdAt };
}

function names(files: readonly FileInfo[]): string[] {
  return files.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`);
}

test('level 0 loses what level 1 holds and is old; the newest file stays', () => {
  const level0 = [1, 2, 3, 4].map((n) => file(0, n, n, n * 1000));
  const all = { level0, level1: [file(1, 1, 4, 4000)], cutoffMs: 9000, floor: 0n };
  assert.deepEqual(names(planLevel0Retention(all).deletions), ['1-1', '2-2', '3-3']);
  const recent = planLevel0Retention({ ...all, cutoffMs: 2000 });
  assert.deepEqual(names(recent.deletions), ['1-1', '2-2']);
  assert.deepEqual([recent.tooRecent, recent.notCompacted], [2, 0]);
  const late = planLevel0Retention({ ...all, settled: 1n });
  assert.deepEqual(names(late.deletions), ['1-1'], 'what was uploaded late stays');
  assert.equal(late.tooRecent, all.level0.length - 1);
  const behind = planLevel0Retention({ ...all, level1: [file(1, 1, 2, 2000)] });
  assert.deepEqual(names(behind.deletions), ['1-1', '2-2']);
  assert.deepEqual([behind.tooRecent, behind.notCompacted], [0, 2]);
});

test('level 0 keeps what level 1 lacks, and everything behind it, until the snapshots have passed it', () => {
  const level0 = [1, 2, 3, 4, 5].map((n) => file(0, n, n, n * 1000));
  const level1 = [file(1, 3, 5, 5000)];
  const plan = { level0, level1, cutoffMs: 9000, floor: 0n };
  assert.deepEqual(planLevel0Retention(plan).deletions, []);
  const passed = planLevel0Retention({ ...plan, floor: 3n });
  assert.deepEqual(names(passed.deletions), ['1-1', '2-2', '3-3', '4-4']);
});

test('of the expired snapshots the newest stays: it is the base of the window’s first instants', () => {
  const snapshots = [100, 200, 300, 400].map((n) => file(9, 1, n, n));
  const plan = planSnapshotRetention(snapshots, 250);
  assert.deepEqual(names(plan.deletions), ['1-100']);
  assert.equal(plan.floor, 100n);
  const all = planSnapshotRetention(snapshots, 1000);
  assert.deepEqual(names(all.deletions), ['1-100', '1-200', '1-300']);
  assert.deepEqual(planSnapshotRetention([], 1000), { deletions: [], floor: 0n });
  assert.deepEqual(planSnapshotRetention([file(9, 1, 5, 1)], 1000).deletions, []);
  const noSnapshot = file(9, 3, 5, 1);
  assert.deepEqual(planSnapshotRetention([noSnapshot, file(9, 1, 9, 1)], 1000).deletions, []);
});

test('levels lose what ends before the floor, never their newest file', () => {
  const files = [file(1, 1, 99, 1), file(1, 100, 199, 2), file(1, 200, 240, 3)];
  assert.deepEqual(names(planLevelRetention(files, 200n)), ['1-99', '100-199']);
  assert.deepEqual(names(planLevelRetention(files, 1000n)), ['1-99', '100-199']);
  assert.deepEqual(planLevelRetention(files, 0n), []);
});

test('CMP-12 a mass deletion is one of more than nine in ten of at least ten files', () => {
  assert.equal(isMassDeletion(10, 11), true);
  assert.equal(isMassDeletion(9, 10), false);
  assert.equal(isMassDeletion(8, 9), false);
});

test('boundaries are multiples of the interval since year 1', () => {
  assert.equal(previousBoundary(START_MS + 1, HOUR), START_MS);
  assert.equal(nextBoundary(START_MS, HOUR), START_MS + HOUR);
  // Go: 2025-01-01T00:00:00Z truncated to 168 h is 2024-12-30T00:00:00Z, a Monday.
  assert.equal(previousBoundary(START_MS, 168 * HOUR), START_MS - 48 * HOUR);
  for (const interval of [1, 7, 1000, HOUR, 168 * HOUR]) {
    const boundary = previousBoundary(START_MS + 12_345, interval);
    assert.ok(boundary <= START_MS + 12_345 && boundary + interval > START_MS + 12_345);
    assert.equal(previousBoundary(boundary, interval), boundary);
  }
});

/** A replica as a listing; what the engine does to it, at the times it does it. */
class ModelReplica {
  readonly levels: FileInfo[][] = Array.from({ length: 10 }, () => []);
  readonly history: { readonly txid: number; readonly at: number }[] = [];
  now = START_MS;
  txid = 0;

  commit(): void {
    this.txid++;
    this.history.push({ txid: this.txid, at: this.now });
    this.levels[0]?.push(file(0, this.txid, this.txid, this.now));
  }

  compact(level: number): void {
    const target = this.levels[level] ?? [];
    const { files } = chooseInputs({
      files: this.levels[level - 1] ?? [],
      sourceLevel: level - 1,
      after: newestOf(target)?.maxTxid ?? 0n,
      covered: newestOf(this.levels[9] ?? [])?.maxTxid ?? 0n,
      expected: 0n,
    });
    for (const group of groupByInterval(files, INTERVALS_MS[level] ?? 0, this.now)) {
      const [first, last] = [group[0], group.at(-1)];
      if (first !== undefined && last !== undefined) {
        target.push({ ...last, level, minTxid: first.minTxid });
      }
    }
  }

  snapshot(): void {
    const newest = newestOf(this.levels[9] ?? [])?.maxTxid ?? 0n;
    if (this.txid > newest) this.levels[9]?.push(file(9, 1, this.txid, this.now));
  }

  remove(level: number, gone: readonly FileInfo[]): void {
    this.levels[level] = (this.levels[level] ?? []).filter((known) => !gone.includes(known));
  }

  retainLevel0(retentionMs: number, floor: bigint): void {
    const [level0 = [], level1 = []] = this.levels;
    const cutoffMs = this.now - retentionMs;
    this.remove(0, planLevel0Retention({ level0, level1, cutoffMs, floor }).deletions);
  }

  retainSnapshots(retentionMs: number, failLevels: boolean): bigint {
    const { deletions, floor } = planSnapshotRetention(
      this.levels[9] ?? [],
      this.now - retentionMs,
    );
    this.remove(9, deletions);
    if (failLevels) return floor;
    for (const level of [1, 2, 3]) {
      this.remove(level, planLevelRetention(this.levels[level] ?? [], floor));
    }
    return floor;
  }
}

const INTERVALS_MS = [0, 30_000, 300_000, HOUR];
const RETENTION_MS = 24 * HOUR;
const LEVEL0_MS = 5 * 60_000;

/** Applies one action; the numbers choose. */
function act(replica: ModelReplica, action: number, floor: bigint): bigint {
  if (action < 4) replica.commit();
  else if (action < 7) replica.compact(action - 3);
  else if (action === 7) replica.snapshot();
  else if (action === 8) replica.retainLevel0(LEVEL0_MS, floor);
  else {
    const found = replica.retainSnapshots(RETENTION_MS, action === 10);
    return found > floor ? found : floor;
  }
  return floor;
}

/** Every instant of the window has a plan that is behind it by less than two intervals of level 1. */
function checkWindow(replica: ModelReplica): void {
  const from = Math.max(replica.now - RETENTION_MS, START_MS);
  for (let at = 0; at <= 20; at++) {
    const timestampMs = Math.round(from + ((replica.now + 1 - from) * at) / 20);
    const bound = previousBoundary(timestampMs, 30_000) - 30_000;
    const wanted = replica.history.findLast((known) => known.at < bound);
    if (wanted === undefined) continue;
    const plan = choosePlan(replica.levels, { timestampMs });
    assert.ok(plan.maxTxid >= BigInt(wanted.txid), `${plan.maxTxid} at ${timestampMs}`);
  }
  if (replica.txid > 0) assert.equal(choosePlan(replica.levels, {}).maxTxid, BigInt(replica.txid));
}

test('CMP-01 CMP-12 no instant inside the window becomes unrestorable, whatever happens in which order', () => {
  const actions = fc.array(
    fc.record({
      action: fc.integer({ min: 0, max: 10 }),
      waitMs: fc.oneof(fc.nat(60_000), fc.nat(HOUR), fc.nat(12 * HOUR)),
    }),
    { maxLength: 80 },
  );
  fc.assert(
    fc.property(actions, (steps) => {
      const replica = new ModelReplica();
      let floor = 0n;
      for (const { action, waitMs } of steps) {
        replica.now += 1 + waitMs;
        floor = act(replica, action, floor);
        checkWindow(replica);
      }
    }),
    { numRuns: runs },
  );
});

test('a week of commits, levels and retention keeps the window whole and the levels small', () => {
  const replica = new ModelReplica();
  let floor = 0n;
  for (let minute = 0; minute < 7 * 24 * 60; minute += 2) {
    replica.now = START_MS + minute * 60_000;
    replica.commit();
    replica.compact(1);
    replica.retainLevel0(LEVEL0_MS, floor);
    if (minute % 10 === 0) replica.compact(2);
    if (minute % 60 === 0) replica.compact(3);
    if (minute % 1440 === 0) {
      replica.snapshot();
      const found = replica.retainSnapshots(RETENTION_MS, false);
      floor = found > floor ? found : floor;
    }
    if (minute % 90 === 0) checkWindow(replica);
  }
  const [level0, level1, , level3] = replica.levels;
  assert.ok((level0?.length ?? 0) <= 4);
  assert.ok((level1?.length ?? 0) <= 4 * 720);
  assert.ok((level3?.length ?? 0) <= 4 * 24);
  assert.ok((replica.levels[9]?.length ?? 0) <= 3);
});
