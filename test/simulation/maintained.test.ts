/**
 * Random operations of an application, a daemon with compaction, snapshots and retention, restores, checked after each
 * step: invariants E1, E5, E9, E10, E11, E12, E13, E14 of the engine, I1, I5, I6, I7 of restore.
 *
 * `SEED`, `RUNS` and `OPS` (operations per run) repeat a run; `LITESTREAM_TEST_SEED` is a soak's.
 */
import { test } from 'node:test';
import { firstSeed } from './harness/campaign.ts';
import { campaign } from './harness/maintained/campaign.ts';

const RUNS = process.env['SLOW'] === undefined ? 290 : 600;

test('whatever happens, a replica under upkeep restores what was committed, and stays small', async () => {
  await campaign({ seed: firstSeed(), runs: RUNS });
});
