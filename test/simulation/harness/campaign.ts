import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { CampaignOrder, CampaignOutcome } from './campaign-thread.ts';
import { isOpen, type Plan, PLANS } from './plan.ts';

/** Of a soak: that many more runs of each plan. */
const SLOW_FACTOR = 1.5;
/** Seeds that one plan may use up, where it does not begin at its own. */
const SEEDS_EACH = 500;

const TITLES: Readonly<Record<Plan['kind'], string>> = {
  replicated: 'whatever happens, every TXID restores the state that was committed',
  maintained:
    'whatever happens, a replica under upkeep restores what was committed, and stays small',
  followed:
    'whatever happens, who reads a followed database sees every state that was applied, and no other',
  contested: 'whatever happens, two databases with one destination do not mix their histories',
};

function planOf(name: string): Plan {
  const plan = PLANS.get(name);
  assert.ok(plan !== undefined, name);
  return plan;
}

/**
 * Makes the test that carries out a plan.
 *
 * `SEED`, `RUNS` and `OPS` (steps per run) repeat a run; `LITESTREAM_TEST_SEED` is a soak's.
 */
export function campaign(name: string): void {
  test(`${TITLES[planOf(name).kind]} (${name})`, () => carryOut(name));
}

/** Carries out a plan, prints its seeds and what they came to. @throws Error the first failure, with everything to repeat it */
async function carryOut(name: string): Promise<void> {
  const { OPS, RUNS, SLOW } = process.env;
  const plan = planOf(name);
  const ops = Number(OPS ?? plan.ops);
  const runs = Number(RUNS ?? Math.ceil(plan.runs * (SLOW === undefined ? 1 : SLOW_FACTOR)));
  const seed = firstSeed(name);
  const except = seed === plan.seed ? (plan.except ?? []) : [];
  const file = `test/simulation/campaigns/${name}.test.ts`;
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
  // How many other seeds come to is up to chance.
  if (OPS !== undefined || RUNS !== undefined || seed !== plan.seed) return;
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
function firstSeed(name: string): number {
  const { CI, LITESTREAM_TEST_SEED, SEED, SLOW } = process.env;
  const plan = planOf(name);
  if (SEED !== undefined) return Number(SEED);
  const before = [...PLANS.keys()].indexOf(name) * SEEDS_EACH;
  // A soak counts these up by one: each stands for as many runs as all plans together may have.
  if (LITESTREAM_TEST_SEED !== undefined) {
    return Number(LITESTREAM_TEST_SEED) * PLANS.size * SEEDS_EACH + before;
  }
  // The same for every change: what fails there is the change. New seeds are sought by developers and by the soak.
  if (CI !== undefined || (!isOpen(plan) && SLOW === undefined)) return plan.seed;
  return (Date.now() % 1_000_000_000) + before;
}
