import type { CampaignOutcome } from '../campaign-thread.ts';
import { finish } from './finish.ts';
import { step } from './operations.ts';
import { World } from './world.ts';

export interface MaintainedOptions {
  readonly seed: number;
  readonly ops: number;
  /** Another database may be given the same destinations. Default false. */
  readonly contested?: boolean | undefined;
  /** Mostly followers, with readers that stay. Default false. */
  readonly followed?: boolean | undefined;
  /** The test that repeats the run. */
  readonly file?: string | undefined;
}

/** Runs one world from its seed to its end. @throws Error with everything that led to a broken invariant */
export async function runMaintained(
  folder: string,
  options: MaintainedOptions,
): Promise<CampaignOutcome> {
  const { contested, followed, ops, seed } = options;
  const world = new World({ folder, seed, contested, followed });
  try {
    for (let n = 0; n < ops; n++) await step(world);
    world.steps.push('finish');
    await finish(world);
    return { counts: world.tally.counts, seen: world.seen.counts };
  } catch (error) {
    throw new Error(describe(world, options, error), { cause: error });
  } finally {
    world.clean();
  }
}

/** The one line that repeats a failing run, and what led to it. */
function describe(world: World, { file, ops, seed }: MaintainedOptions, error: unknown): string {
  const path = file ?? 'test/simulation/campaigns/maintained-1.test.ts';
  const command = `SEED=${seed} RUNS=1 OPS=${ops} node --test ${path}`;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const steps = world.steps.slice(-40).join(' | ');
  const said = world.writer.journal.lines.slice(-40).join('\n');
  return `${command}\n${text}\nsteps (TXID/state): ${steps}\n${said}`;
}
