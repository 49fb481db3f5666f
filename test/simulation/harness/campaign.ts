import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import type { CampaignOrder, CampaignOutcome } from './campaign-thread.ts';
import { PLANS, type PlanName } from './plan.ts';

/** Of a soak: that many more runs of each plan. */
const SLOW_FACTOR = 1.5;

/** Carries out a plan, prints its seeds and what they came to. @throws Error the first failure, with everything to repeat it */
export async function campaign(name: PlanName): Promise<void> {
  const { OPS, RUNS, SLOW } = process.env;
  const plan = PLANS[name];
  const ops = Number(OPS ?? plan.ops);
  const runs = Number(RUNS ?? Math.ceil(plan.runs * (SLOW === undefined ? 1 : SLOW_FACTOR)));
  const seed = firstSeed(name);
  const except = seed === plan.seed ? (plan.except ?? []) : [];
  const file = `test/simulation/${name}.test.ts`;
  process.stdout.write(`${name}: seeds ${seed} … ${seed + runs - 1}, ${ops} steps each\n`);
  const order = {
    file,
    kind: plan.kind,
    replicas: plan.replicas,
    seed,
    runs,
    ops,
    except,
  };
  const { counts, seen } = await inThread(order);
  const operations = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const text = JSON.stringify({ ...Object.fromEntries(counts), ...Object.fromEntries(seen) });
  process.stdout.write(`${name}: ${operations} operations: ${text}\n`);
  if (OPS !== undefined || RUNS !== undefined) return;
  assert.ok(operations >= plan.operations, `${operations} operations, not ${plan.operations}`);
}

/**
 * The runner of tests looks at every promise of its thread, which costs a quarter of a simulation's time: it has a thread of its own,
 * still with one SQLite and one set of file locks.
 */
function inThread(order: CampaignOrder): Promise<CampaignOutcome> {
  const worker = new Worker(new URL('./campaign-thread.ts', import.meta.url), {
    workerData: order,
  });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`the thread ended with ${code}`)));
  });
}

/** The first seed: told, or for some plans another one each time. */
function firstSeed(name: PlanName): number {
  const { CI, LITESTREAM_TEST_SEED, SEED, SLOW } = process.env;
  const plan = PLANS[name];
  if (SEED !== undefined) return Number(SEED);
  // A soak counts these up by one: each stands for a thousand runs, of which each plan has its share.
  if (LITESTREAM_TEST_SEED !== undefined) {
    const before = Object.keys(PLANS).indexOf(name);
    return Number(LITESTREAM_TEST_SEED) * 10_000 + before * 1000;
  }
  // The same for every change: what fails there is the change. New seeds are sought by developers and by the soak.
  if (CI !== undefined || (plan.kind !== 'replicated' && SLOW === undefined)) return plan.seed;
  return Date.now() % 1_000_000_000;
}
