import { type Failure, run, type RunOptions, simulationFolder } from './run.ts';

/** Operations of one run: small enough to be read, large enough for several daemons. */
export const OPS_PER_RUN = 350;

/** The one line that repeats a failing run, and what led to it. */
export function describeFailure(failure: Failure): string {
  const { seed, ops, replicas, error, steps, journal } = failure;
  const file = `test/simulation/${replicas === 1 ? 'one' : 'two'}-replica.test.ts`;
  const command = `SEED=${seed} RUNS=1 OPS=${ops} node --test ${file}`;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `${command}\n${text}\nsteps (TXID/state): ${steps.join(' | ')}\n${journal.join('\n')}`;
}

/** Runs seed after seed and prints what they came to. @throws the first failure */
export async function campaign(
  options: Omit<RunOptions, 'seed' | 'ops'> & { readonly runs: number; readonly seed: number },
): Promise<void> {
  const ops = Number(process.env['OPS'] ?? OPS_PER_RUN);
  const runs = Number(process.env['RUNS'] ?? options.runs);
  const total = { commits: 0, points: 0, starts: 0, files: 0 };
  const folder = simulationFolder();
  process.stdout.write(
    `seeds ${options.seed} … ${options.seed + runs - 1}, ${ops} operations each\n`,
  );
  try {
    for (let seed = options.seed; seed < options.seed + runs; seed++) {
      const result = await run(folder.path, { ...options, seed, ops });
      if (result.failure !== undefined) throw new Error(describeFailure(result.failure));
      total.commits += result.commits;
      total.points += result.points;
      total.starts += result.starts;
      total.files += result.files;
    }
  } finally {
    folder.remove();
  }
  process.stdout.write(`${runs * ops} operations: ${JSON.stringify(total)}\n`);
}

/** The first seed: told, or another one each time. */
export function firstSeed(ciSeed: number): number {
  const { CI, SEED, LITESTREAM_TEST_SEED } = process.env;
  if (SEED !== undefined) return Number(SEED);
  // A soak counts these up by one: each stands for a thousand runs.
  if (LITESTREAM_TEST_SEED !== undefined) return Number(LITESTREAM_TEST_SEED) * 1000;
  // The same for every change: what fails there is the change. New seeds are sought by developers and by the soak.
  if (CI !== undefined) return ciSeed;
  return Date.now() % 1_000_000_000;
}
