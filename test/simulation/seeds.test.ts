/** Seeds with upkeep that are tests by themselves: what they are about is rare in the plans. */
import { test, type TestContext } from 'node:test';
import { runMaintained } from './harness/maintained/campaign.ts';
import { simulationFolder } from './harness/run.ts';

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
