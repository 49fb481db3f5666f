/**
 * Random operations as in maintained.test.ts, with followers that die and programs that keep their copy open: invariants I6, I7 of restore
 * between any two calls of a follower.
 *
 * `SEED`, `RUNS` and `OPS` (steps per run) repeat a run; `LITESTREAM_TEST_SEED` is a soak's.
 */
import { test } from 'node:test';
import { campaign } from './harness/campaign.ts';

test('whatever happens, who reads a followed database sees every state that was applied, and no other', async () => {
  await campaign('followed');
});
