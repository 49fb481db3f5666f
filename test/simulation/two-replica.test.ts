/**
 * Random operations of an application, a daemon and its surroundings on one database with two replicas, checked after each step.
 *
 * `SEED`, `RUNS` and `OPS` (operations per run) repeat a run; `LITESTREAM_TEST_SEED` is a soak's.
 */
import { test } from 'node:test';
import { campaign, firstSeed } from './harness/campaign.ts';

const RUNS = process.env['SLOW'] === undefined ? 145 : 200;

test('whatever happens, every TXID restores the state that was committed (two replicas)', async () => {
  await campaign({ seed: firstSeed(281960504), runs: RUNS, replicas: 2 });
});
