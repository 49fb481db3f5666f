import { parentPort, workerData } from 'node:worker_threads';
import { runMaintained } from './maintained/campaign.ts';
import type { Plan } from './plan.ts';
import { describeFailure, run, simulationFolder } from './run.ts';
import { Tally } from './tally.ts';

/** Which runs a thread is to carry out. */
export interface CampaignOrder extends Pick<Plan, 'kind' | 'replicas' | 'seed' | 'runs' | 'ops'> {
  /** The test that repeats one of them. */
  readonly file: string;
  readonly except: readonly number[];
}

export interface CampaignOutcome {
  /** Operations by name. */
  readonly counts: ReadonlyMap<string, number>;
  /** What was there to be checked. */
  readonly seen: ReadonlyMap<string, number>;
}

async function runOne(
  order: CampaignOrder,
  folder: string,
  seed: number,
): Promise<CampaignOutcome> {
  const { file, kind, replicas, ops } = order;
  if (kind !== 'replicated') {
    const [followed, contested] = [kind === 'followed', kind === 'contested'];
    return runMaintained(folder, { seed, ops, file, followed, contested });
  }
  const { counts, failure, ...seen } = await run(folder, { seed, ops, replicas });
  if (failure !== undefined) throw new Error(describeFailure(file, failure));
  return { counts, seen: new Map(Object.entries(seen)) };
}

/** Runs seed after seed. @throws the first failure */
async function runAll(order: CampaignOrder): Promise<CampaignOutcome> {
  const { except, runs, seed: first } = order;
  const [counts, seen] = [new Tally(), new Tally()];
  const folder = simulationFolder();
  try {
    for (let seed = first; seed < first + runs; seed++) {
      if (except.includes(seed)) continue;
      const outcome = await runOne(order, folder.path, seed);
      counts.take(outcome.counts);
      seen.take(outcome.seen);
    }
  } finally {
    folder.remove();
  }
  return { counts: counts.counts, seen: seen.counts };
}

// Locks that are taken end in thousands of errors that nobody looks at; the first frames say where something is wrong.
Error.stackTraceLimit = 4;
// The only one who starts this thread is campaign.ts.
const order = workerData as CampaignOrder;
const outcome = await runAll(order);
parentPort?.postMessage(outcome);
