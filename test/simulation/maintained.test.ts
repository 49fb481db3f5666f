/**
 * Random operations of an application, a daemon with compaction, snapshots and retention, restores, checked after each
 * step: invariants E1, E5, E9, E10, E11, E12, E13, E14 of the engine, I1, I5, I6, I7 of restore.
 *
 * `SEED`, `RUNS` and `OPS` (steps per run) repeat a run; `LITESTREAM_TEST_SEED` is a soak's.
 */
import { test, type TestContext } from 'node:test';
import { campaign } from './harness/campaign.ts';
import { runMaintained } from './harness/maintained/campaign.ts';
import { simulationFolder } from './harness/run.ts';

test('whatever happens, a replica under upkeep restores what was committed, and stays small', async () => {
  await campaign('maintained');
});

/** Runs in which another database is given the same destinations. */
async function contested(t: TestContext, seeds: readonly number[]): Promise<void> {
  const folder = simulationFolder();
  t.after(() => folder.remove());
  for (const seed of seeds) await runMaintained(folder.path, { seed, ops: 350, contested: true });
}

test('two databases with one destination do not mix their histories', async (t) => {
  await contested(t, [1030, 1031, 1034, 1036, 1043, 1113, 1116, 1133, 1165, 1186, 1229, 1313]);
});

test('a database takes over a history whose newest file is damaged', async (t) => {
  await contested(t, [1017, 1037, 1168]);
  const folder = simulationFolder();
  t.after(() => folder.remove());
  await runMaintained(folder.path, { seed: 11_009, ops: 350 });
});

test('a destination that was bridged can be restored to every instant, and stays small', async (t) => {
  const folder = simulationFolder();
  t.after(() => folder.remove());
  for (const seed of [5031, 5053, 5275]) await runMaintained(folder.path, { seed, ops: 350 });
});
