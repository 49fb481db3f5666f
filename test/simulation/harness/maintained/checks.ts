import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { toTxid } from '../../../../src/formats/ltx/index.ts';
import { errorMessage, isLitestreamError } from '../../../../src/lib/errors.ts';
import { restoreDatabase, type RestoreTarget } from '../../../../src/restore/index.ts';
import type { FileInfo } from '../../../../src/storage/index.ts';
import { noopLogger } from '../../../../src/telemetry/index.ts';
import { MemoryClient } from '../../../../src/testing/index.ts';
import { checkChain } from '../../../../src/verify/chain.ts';
import { sweepFiles } from '../../../../src/verify/sweep.ts';
import { imageKey } from '../history.ts';
import { check } from '../violation.ts';
import { greatest, reachable } from './model.ts';
import type { Remote } from './remote.ts';
import type { World } from './world.ts';

/** Codes with which a restore may end where what it needs is not there, or damaged. */
const REFUSALS = new Set([
  'ERR_TX_NOT_AVAILABLE',
  'ERR_TX_GAP',
  'ERR_NO_SNAPSHOTS',
  'ERR_EMPTY_REPLICA',
]);
const DAMAGE = new Set(['ERR_LTX_CORRUPTED', 'ERR_LTX_HEADER', 'ERR_LZ4']);

interface Restored {
  readonly txid: bigint;
  readonly failure: unknown;
}

/** Restores; what comes out must be the state that its TXID stands for. */
async function restore(world: World, remote: Remote, target: RestoreTarget): Promise<Restored> {
  world.tally.add('restore');
  const outputPath = join(world.folder, 'restored', 'db');
  const client = new MemoryClient({ store: remote.store, path: remote.name });
  const { clock, files: fileSystem } = world;
  const options = { client, outputPath, target, fileSystem, clock, logger: noopLogger };
  let txid: bigint;
  try {
    ({ maxTxid: txid } = (await clock.drive(restoreDatabase(options))).plan);
  } catch (failure) {
    check(isLitestreamError(failure), `I5: a restore fails with a code: ${String(failure)}`);
    const known =
      REFUSALS.has(failure.code) ||
      isExpired(remote, target, failure) ||
      (remote.damaged.size > 0 && DAMAGE.has(failure.code));
    check(known, `I5: a restore fails only where something is missing: ${failure.message}`);
    world.checkNothingLeft();
    return { txid: 0n, failure };
  }
  const key = imageKey(readFileSync(outputPath));
  rmSync(outputPath);
  world.checkNothingLeft();
  check(key === remote.states.get(txid), `I1: ${remote.name} at ${txid} is what was committed`);
  return { txid, failure: undefined };
}

/**
 * True if pages of different sizes are in the way of a TXID below the last expired snapshot. The snapshot that led over them has gone,
 * and files that were to follow it stay where that was interrupted, until the next one expires.
 */
function isExpired(remote: Remote, target: RestoreTarget, failure: unknown): boolean {
  if (target.txid === undefined || target.txid >= remote.floor) return false;
  return isLitestreamError(failure) && failure.details['field'] === 'pageSize';
}

/** The newest restore is at least the acknowledged state, unless something was lost. */
export async function restoreLatest(world: World, remote: Remote): Promise<boolean> {
  if (remote.store.size === 0) return true;
  const { failure, txid } = await restore(world, remote, {});
  world.seen.add('latest restored');
  const good = failure === undefined && txid >= remote.acknowledged;
  if (remote.harm === undefined) {
    const text = `${remote.name} restores ${txid} of ${remote.acknowledged}: ${errorMessage(failure)}`;
    check(good, `E11: ${text}`);
  }
  return good;
}

/** A TXID that files lead to is restored, any other one refused. */
export async function restoreTxid(world: World, remote: Remote, txid: bigint): Promise<void> {
  const target = { txid: toTxid(txid) };
  const { failure, txid: found } = await restore(world, remote, target);
  world.seen.add('TXID restored');
  if (failure === undefined) check(found === txid, `I1: ${txid} was asked for, not ${found}`);
  if (remote.damaged.size > 0 || isExpired(remote, target, failure)) return;
  const expected = reachable(remote.files()).has(txid);
  check(expected === (failure === undefined), `I5: ${txid} can be restored: ${expected}`);
}

/** A time gives the newest state from before it that is kept. */
export async function restoreTime(
  world: World,
  remote: Remote,
  timestampMs: number,
): Promise<void> {
  const { failure, txid } = await restore(world, remote, { timestampMs });
  world.seen.add('time restored');
  if (remote.damaged.size > 0) return;
  const eligible = remote.files().filter(({ createdAt }) => createdAt < timestampMs);
  const expected = greatest(reachable(eligible));
  if (failure === undefined) check(txid === expected, `I5: at ${timestampMs} it was ${expected}`);
  if (remote.scarred || remote.harm !== undefined || world.jumps) return;
  const oldest = Math.min(...remote.files().map(({ createdAt }) => createdAt));
  const kept = remote.cutoffFrom - world.store.snapshotRetentionMs;
  if (timestampMs <= Math.max(kept, oldest)) return;
  check(failure === undefined, `E13: ${timestampMs} can be restored: ${errorMessage(failure)}`);
}

/**
 * Verification finds nothing where nothing is wrong, and something where nothing can be restored. Without its own restore, which has
 * SQLite check the result on a thread.
 */
export async function verify(world: World, remote: Remote): Promise<void> {
  if (remote.store.size === 0) return;
  world.tally.add('verification');
  const { clock } = world;
  const client = new MemoryClient({ store: remote.store, path: remote.name });
  const files = remote.files();
  const list = (): Promise<FileInfo[]> => Promise.resolve(remote.files());
  const sweep = await clock.drive(sweepFiles({ client, clock, files, list }));
  world.seen.add('verified');
  const findings = [...checkChain(files).findings, ...sweep.findings];
  const damages = findings.filter(({ severity }) => severity === 'damage');
  const found = damages.map(({ message }) => message).join('; ');
  if (remote.harm === undefined && !remote.scarred) check(found === '', `no false alarm: ${found}`);
  if (found !== '') return;
  const { failure } = await restore(world, remote, {});
  check(failure === undefined, `what is verified can be restored: ${errorMessage(failure)}`);
}
