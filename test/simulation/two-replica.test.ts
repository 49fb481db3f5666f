/**
 * Random operations of an application, a daemon and its surroundings on one database with two replicas, checked after each step.
 *
 * `SEED`, `RUNS` and `OPS` (steps per run) repeat a run; `LITESTREAM_TEST_SEED` is a soak's.
 */
import { test } from 'node:test';
import { campaign } from './harness/campaign.ts';

test('whatever happens, every TXID restores the state that was committed (two replicas)', async () => {
  await campaign('two-replica');
});
