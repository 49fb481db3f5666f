import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { step } from './operations.ts';
import { Simulation, type SimulationOptions } from './simulation.ts';

/** A run that ended with a broken invariant. */
export interface Failure {
  readonly seed: number;
  readonly ops: number;
  readonly replicas: number;
  readonly error: unknown;
  /** Operations that led to it, newest last. */
  readonly steps: readonly string[];
  /** What the engine said, newest last. */
  readonly journal: readonly string[];
}

export interface RunOptions extends Omit<SimulationOptions, 'folder'> {
  /** Operations before everything has to come to rest. */
  readonly ops: number;
}

/** What a run came to. */
export interface RunResult {
  readonly failure: Failure | undefined;
  readonly commits: number;
  readonly busy: number;
  readonly points: number;
  readonly starts: number;
  readonly files: number;
  readonly fulls: number;
  /** Operations by name. */
  readonly counts: ReadonlyMap<string, number>;
}

/** The one line that repeats a failing run, and what led to it. */
export function describeFailure(file: string, failure: Failure): string {
  const { seed, ops, error, steps, journal } = failure;
  const command = `SEED=${seed} RUNS=1 OPS=${ops} node --test ${file}`;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `${command}\n${text}\nsteps (TXID/state): ${steps.join(' | ')}\n${journal.join('\n')}`;
}

const MEMORY = '/dev/shm';
/** What several simulations at the same time may need together; containers often have 64 MB in all. */
const ROOM_BYTES = 128 << 20;

function hasRoom(folder: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize >= ROOM_BYTES;
  } catch {
    return false;
  }
}

/** A folder in memory if the machine has one with enough room. */
export function simulationFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(hasRoom(MEMORY) ? MEMORY : tmpdir(), 'litestream-simulation-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Runs one simulation from its seed to its end or the first broken invariant. */
export async function run(folder: string, options: RunOptions): Promise<RunResult> {
  const { seed, ops } = options;
  const simulation = new Simulation({ ...options, folder });
  let failure: Failure | undefined;
  try {
    for (let n = 0; n < ops; n++) await step(simulation);
    simulation.steps.push('finish');
    await simulation.finish();
  } catch (error) {
    const { steps } = simulation;
    const { lines } = simulation.engine.journal;
    const replicas = simulation.engine.destinations.length;
    failure = { seed, ops, replicas, error, steps: steps.slice(-40), journal: lines.slice(-40) };
  }
  simulation.clean();
  return {
    failure,
    commits: simulation.application.commits,
    busy: simulation.application.busy,
    points: simulation.interference.points,
    starts: simulation.engine.starts,
    files: simulation.ledger.local.entries.size,
    fulls: simulation.engine.journal.fulls,
    counts: simulation.tally.counts,
  };
}
