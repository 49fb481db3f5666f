/**
 * The first sync of a database, all of it: `node bench/snapshot.bench.ts [MB] [folder]`.
 *
 * One full LTX file in the metadata folder and one in the replica, both durable, from the start of the command to its end. Limits of
 * the same run: `lz4 -1 -B4` and `cp` of the database, neither of which waits for the disk. Spec: performance 7.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeDatabase } from './harness/databases.ts';
import { COMMAND, timed } from './harness/processes.ts';
import { type Measured, measureRounds, printRatios, type Variant } from './harness/variants.ts';

const megabytes = Number(process.argv[2] ?? 256);
const folder = fs.mkdtempSync(join(process.argv[3] ?? tmpdir(), 'litestream-bench-'));
const path = (name: string): string => join(folder, name);
const ROUNDS = 3;

function sizeOf(name: string): number {
  return fs.statSync(path(name)).size;
}

const REPLICA = 'replica/ltx/0/0000000000000001-0000000000000001.ltx';

function firstSync(): void {
  timed(COMMAND, ['replicate', '-once', path('app.db'), `file://${path('replica')}`]);
}

/** What was restored has to be what was replicated. */
function checkData(): void {
  timed(COMMAND, ['restore', '-o', path('restored.db'), `file://${path('replica')}`]);
  timed('cmp', [path('app.db'), path('restored.db')]);
}

function measure(): Promise<ReadonlyMap<string, Measured>> {
  const lz4 = (): void => void timed('lz4', ['-1', '-B4', '-qf', path('app.db'), path('lz4')]);
  const clear = (): void => {
    for (const old of ['replica', '.app.db-litestream', 'restored.db']) {
      fs.rmSync(path(old), { recursive: true, force: true });
    }
  };
  const variants: readonly Variant[] = [
    { name: 'lz4 -1 -B4', run: lz4 },
    { name: 'cp', run: () => void timed('cp', [path('app.db'), path('copy')]) },
    { name: 'first sync', prepare: clear, run: firstSync },
  ];
  return measureRounds(ROUNDS, variants, checkData);
}

try {
  makeDatabase(path('app.db'), megabytes);
  printRatios(await measure(), ['lz4 -1 -B4', 'cp']);
  const size = (sizeOf(REPLICA) / sizeOf('lz4')).toFixed(3);
  process.stdout.write(`size of the replica ${size}× the output of lz4 -1 -B4\n`);
} finally {
  fs.rmSync(folder, { recursive: true });
}
