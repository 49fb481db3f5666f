import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram, type Program } from './program.ts';

/** One LTX file of a folder replica. TXIDs as 16 hex digits, as in its name. */
export interface ReplicaFile {
  readonly path: string;
  readonly name: string;
  readonly minTxid: string;
  readonly maxTxid: string;
  readonly size: number;
  readonly modifiedMs: number;
}

/** The files of one level in ascending order; none if the level does not exist. */
export function filesOf(replica: string, level = 0): ReplicaFile[] {
  const folder = join(replica, 'ltx', String(level));
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names.toSorted().flatMap((name) => {
    const found = /^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/.exec(name);
    const stat = statSync(join(folder, name), { throwIfNoEntry: false });
    if (found === null || stat === undefined) return [];
    const [, minTxid = '', maxTxid = ''] = found;
    const { size, mtimeMs: modifiedMs } = stat;
    return [{ path: join(folder, name), name, minTxid, maxTxid, size, modifiedMs }];
  });
}

/** The highest TXID of level 0; 0 if there is none. */
export function lastTxid(replica: string): number {
  return Number.parseInt(filesOf(replica).at(-1)?.maxTxid ?? '0', 16);
}

/** SHA-256 of a file. */
export function fileDigest(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Restores a folder replica with a program and fails the test if that does not work. */
export function restoreWith(
  program: Program,
  replica: string,
  output: string,
  ...options: string[]
): string {
  const { status, stdout, stderr } = runProgram(
    program,
    'restore',
    '-o',
    output,
    ...options,
    `file://${replica}`,
  );
  assert.equal(
    status,
    0,
    `${program.name} cannot restore ${options.join(' ')}: ${stdout}${stderr}`,
  );
  return output;
}
