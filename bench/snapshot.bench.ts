/**
 * The first sync of a database, all of it: `node bench/snapshot.bench.ts [MB] [folder]`.
 *
 * One full LTX file in the metadata folder and one in the replica, both durable, from the start of the command to its end. Limits of
 * the same run: `lz4 -1 -B4` and `cp` of the database, neither of which waits for the disk. Spec: performance 7.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { present } from '../src/lib/assert.ts';
import { least, median } from './harness/figures.ts';
import { COMMAND, cpuSeconds, timed } from './harness/processes.ts';

const megabytes = Number(process.argv[2] ?? 256);
const folder = fs.mkdtempSync(join(process.argv[3] ?? tmpdir(), 'litestream-bench-'));
const path = (name: string): string => join(folder, name);
const ROUNDS = 3;

interface Measured {
  readonly seconds: number[];
  readonly cpu: number[];
}

/** Rows of words and numbers; compresses by about a third. */
function makeDatabase(): void {
  const db = new DatabaseSync(path('app.db'));
  db.exec(`PRAGMA journal_mode = wal; PRAGMA synchronous = off;
    CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT, noise BLOB)`);
  const insert = db.prepare(`INSERT INTO item (body, noise)
    SELECT printf('item %d of %d, %s', value, ?, hex(randomblob(abs(random()) % 40))), randomblob(abs(random()) % 120)
    FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 20000) SELECT value FROM n)`);
  while (fs.statSync(path('app.db')).size < megabytes * 1e6) {
    insert.run(megabytes);
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  }
  db.close();
}

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

function measure(): ReadonlyMap<string, Measured> {
  const lz4 = (): void => void timed('lz4', ['-1', '-B4', '-qf', path('app.db'), path('lz4')]);
  const variants: readonly (readonly [string, () => void])[] = [
    ['lz4 -1 -B4', lz4],
    ['cp', () => void timed('cp', [path('app.db'), path('copy')])],
    ['first sync', firstSync],
  ];
  const measured = new Map(variants.map(([name]) => [name, { seconds: [], cpu: [] } as Measured]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, run] of variants) {
      if (name === 'first sync') {
        for (const old of ['replica', '.app.db-litestream']) {
          fs.rmSync(path(old), { recursive: true, force: true });
        }
      }
      const [start, cpu] = [performance.now(), cpuSeconds('self', 'children')];
      run();
      const { seconds, cpu: spent } = present(measured.get(name), name);
      seconds.push((performance.now() - start) / 1000);
      spent.push(cpuSeconds('self', 'children') - cpu);
    }
    checkData();
    fs.rmSync(path('restored.db'));
  }
  return measured;
}

try {
  makeDatabase();
  const measured = measure();
  const limit = (name: string): Measured => present(measured.get(name), name);
  for (const [name, { cpu, seconds }] of measured) {
    const ratios = ['lz4 -1 -B4', 'cp'].map(
      (of) =>
        `${of}: time ${(least(seconds) / least(limit(of).seconds)).toFixed(2)}×, CPU ${(median(cpu) / median(limit(of).cpu)).toFixed(2)}×`,
    );
    process.stdout.write(
      `${name.padEnd(12)}${least(seconds).toFixed(2).padStart(6)} s ${median(cpu).toFixed(2).padStart(6)} CPU s   ${ratios.join('   ')}\n`,
    );
  }
  const size = (sizeOf(REPLICA) / sizeOf('lz4')).toFixed(3);
  process.stdout.write(`size of the replica ${size}× the output of lz4 -1 -B4\n`);
} finally {
  fs.rmSync(folder, { recursive: true });
}
