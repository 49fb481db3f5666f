import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { OPERATIONS, PLANS } from './harness/plan.ts';

test('the plans amount to the operations that one run of CI is said to do', () => {
  let total = 0;
  for (const [name, { operations, runs, seed }] of PLANS) {
    process.stdout.write(`${name}: ${runs} seeds from ${seed}, ${operations} operations\n`);
    total += operations;
  }
  process.stdout.write(`all: at least ${total} operations\n`);
  assert.ok(total >= OPERATIONS);
});

test('each plan is carried out by the file of its name', () => {
  const folder = join(import.meta.dirname, 'campaigns');
  const names = [...PLANS.keys()].map((name) => `${name}.test.ts`);
  assert.deepEqual(readdirSync(folder).toSorted(), names.toSorted());
  for (const name of PLANS.keys()) {
    const path = join(folder, `${name}.test.ts`);
    assert.ok(readFileSync(path, 'utf8').includes(`campaign('${name}')`), path);
  }
});

test('no seed is run twice', () => {
  const plans = [...PLANS.values()];
  for (const [at, one] of plans.entries()) {
    for (const other of plans.slice(0, at)) {
      const same = one.kind === other.kind && one.replicas === other.replicas;
      const apart = one.seed + one.runs <= other.seed || other.seed + other.runs <= one.seed;
      assert.ok(!same || apart, `${one.seed} and ${other.seed}`);
    }
  }
});
