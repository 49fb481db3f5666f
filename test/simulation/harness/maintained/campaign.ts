import { simulationFolder } from '../run.ts';
import { finish } from './finish.ts';
import { step } from './operations.ts';
import { World } from './world.ts';

/** Operations of one run. */
const OPS_PER_RUN = 350;

/** Runs one world from its seed to its end. @throws Error with everything that led to a broken invariant */
export async function runMaintained(
  folder: string,
  options: { readonly seed: number; readonly ops: number; readonly contested?: boolean },
): Promise<ReadonlyMap<string, number>> {
  const world = new World({ folder, seed: options.seed, contested: options.contested });
  try {
    for (let n = 0; n < options.ops; n++) await step(world);
    world.steps.push('finish');
    await finish(world);
    return world.counts;
  } catch (error) {
    throw new Error(describe(world, options, error), { cause: error });
  } finally {
    world.clean();
  }
}

/** The one line that repeats a failing run, and what led to it. */
function describe(
  world: World,
  { ops, seed }: { seed: number; ops: number },
  error: unknown,
): string {
  const command = `SEED=${seed} RUNS=1 OPS=${ops} node --test test/simulation/maintained.test.ts`;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const steps = world.steps.slice(-40).join(' | ');
  const said = world.writer.journal.lines.slice(-40).join('\n');
  return `${command}\n${text}\nsteps (TXID/state): ${steps}\n${said}`;
}

/** Runs seed after seed and prints what they came to. @throws the first failure */
export async function campaign(options: {
  readonly seed: number;
  readonly runs: number;
}): Promise<void> {
  const ops = Number(process.env['OPS'] ?? OPS_PER_RUN);
  const runs = Number(process.env['RUNS'] ?? options.runs);
  const { seed: first } = options;
  const total = new Map<string, number>();
  const folder = simulationFolder();
  process.stdout.write(`seeds ${first} … ${first + runs - 1}, ${ops} operations each\n`);
  try {
    for (let seed = first; seed < first + runs; seed++) {
      const counts = await runMaintained(folder.path, { seed, ops });
      for (const [what, count] of counts) total.set(what, (total.get(what) ?? 0) + count);
    }
  } finally {
    folder.remove();
  }
  process.stdout.write(`${runs * ops} operations: ${JSON.stringify(Object.fromEntries(total))}\n`);
}
