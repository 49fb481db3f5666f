import { rmSync } from 'node:fs';
import { errorMessage, isLitestreamError } from '../../../src/lib/errors.ts';
import type { Simulation } from './simulation.ts';
import { Violation } from './violation.ts';

/** Decides whether a sync may fail like this, and does what an operator would. */
export async function judgeSync(simulation: Simulation, failure: unknown): Promise<void> {
  const { engine } = simulation;
  const injected = isLitestreamError(failure) && ['ERR_IO', 'ERR_DISK_FULL'].includes(failure.code);
  if (injected && simulation.faults) {
    // The operator frees the disk.
    engine.fileSystem.reset();
    simulation.faults = false;
    return;
  }
  // A newer history is fetched from a replica before anything is captured.
  if (errorMessage(failure).includes('injected fault')) return;
  const damage =
    isLitestreamError(failure, 'ERR_LTX_CORRUPTED') ||
    isLitestreamError(failure, 'ERR_LTX_MISSING');
  if (damage && simulation.harmed && !simulation.autoRecover) {
    await simulation.stop();
    reset(simulation);
    return;
  }
  throw unexpected('sync', failure);
}

/** Decides whether an upload may fail like this. */
export async function judgeUpload(
  simulation: Simulation,
  index: number,
  failure: unknown,
): Promise<void> {
  await Promise.resolve();
  const destination = simulation.engine.destinations[index];
  const text = errorMessage(failure);
  if (text.includes('injected fault')) return;
  if (destination?.down === true) return;
  const injected = isLitestreamError(failure) && ['ERR_IO', 'ERR_DISK_FULL'].includes(failure.code);
  if (injected && simulation.faults) {
    simulation.engine.fileSystem.reset();
    simulation.faults = false;
    return;
  }
  throw unexpected(`upload to ${destination?.name}`, failure);
}

/** What `litestream reset` does. */
export function reset(simulation: Simulation): void {
  rmSync(`${simulation.engine.metaPath}/ltx`, { recursive: true, force: true });
  simulation.ledger.forgetLocal();
  simulation.ledger.damaged.clear();
  simulation.harmed = false;
}

function unexpected(what: string, failure: unknown): Violation {
  const stack = failure instanceof Error ? failure.stack : '';
  return new Violation(`${what} failed: ${errorMessage(failure)}\n${stack}`, { cause: failure });
}
