/**
 * Restores from a folder, against programs that write the same bytes: `node bench/restore.bench.ts [MB] [folder]`.
 *
 * A snapshot and increments behind it. Limits of the same run: `cp` and `sync` of the database, `lz4 -d` of it, `VACUUM INTO` by SQLite.
 * One restore runs in this process, to see for how long the event loop is held up. Spec: performance 8 and 16, P11, P12, P22, P23.
 */
import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as wait } from 'node:timers/promises';
import { present } from '../src/lib/assert.ts';
import { systemClock } from '../src/lib/clock.ts';
import { nodeFileSystem } from '../src/lib/file-system.ts';
import { restoreDatabase } from '../src/restore/index.ts';
import { openFileReplica } from '../src/storage/index.ts';
import { noopLogger } from '../src/telemetry/index.ts';
import { least, median } from './harness/figures.ts';
import { COMMAND, cpuSeconds, Daemon, timed, until } from './harness/processes.ts';

const megabytes = Number(process.argv[2] ?? 256);
const folder = fs.mkdtempSync(join(process.argv[3] ?? tmpdir(), 'litestream-bench-'));
const path = (name: string): string => join(folder, name);
const ROUNDS = 3;
const INCREMENTS = 4;

interface Measured {
  readonly seconds: number[];
  readonly cpu: number[];
}

/** Rows of words and numbers; compresses by about a third. */
function grow(db: DatabaseSync): void {
  const insert = db.prepare(`INSERT INTO item (body, noise)
    SELECT printf('item %d of %d, %s', value, ?, hex(randomblob(abs(random()) % 40))), randomblob(abs(random()) % 120)
    FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 20000) SELECT value FROM n)`);
  while (fs.statSync(path('app.db')).size < megabytes * 1e6) {
    insert.run(megabytes);
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  }
}

function filesOfReplica(): number {
  const folder = path('replica/ltx/0');
  return fs.existsSync(folder)
    ? fs.readdirSync(folder).filter((name) => name.endsWith('.ltx')).length
    : 0;
}

/** The database, its replica and what the limits need. */
async function prepare(): Promise<void> {
  const db = new DatabaseSync(path('app.db'));
  db.exec(`PRAGMA journal_mode = wal; PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 0;
    CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT, noise BLOB)`);
  grow(db);
  const daemon = new Daemon(COMMAND, ['replicate', path('app.db'), `file://${path('replica')}`]);
  await until('the first file', () => filesOfReplica() > 0);
  for (let round = 0; round < INCREMENTS; round++) {
    const before = filesOfReplica();
    db.exec(`UPDATE item SET noise = randomblob(60) WHERE id % 997 = ${round}`);
    await until('an increment', () => filesOfReplica() > before);
  }
  await daemon.stop();
  db.close();
  timed('lz4', ['-1', '-B4', '-qf', path('app.db'), path('lz4')]);
}

function restore(...flags: readonly string[]): void {
  timed(COMMAND, ['restore', ...flags, '-o', path('restored'), `file://${path('replica')}`]);
}

/** Every page but those that a checkpoint changes in the header has to be the same, so the content is compared. */
function checkData(): void {
  const content = (name: string): string => {
    const sql =
      'SELECT count(*), sum(length(body)) FROM item; SELECT id, body, noise FROM item WHERE id % 997 < 5; PRAGMA quick_check';
    const { status, stdout } = spawnSync('sqlite3', [path(name), sql], {
      encoding: 'latin1',
      maxBuffer: 1 << 28,
    });
    if (status !== 0) throw new Error(`${name} cannot be read`);
    return stdout;
  };
  if (content('restored') !== content('app.db')) throw new Error('the restored data is other data');
}

function measure(): ReadonlyMap<string, Measured> {
  const copy = `cp '${path('app.db')}' '${path('copy')}' && sync '${path('copy')}'`;
  const variants: readonly (readonly [string, () => void])[] = [
    ['cp + sync', () => void timed('sh', ['-c', copy])],
    ['lz4 -d', () => void timed('lz4', ['-dqf', path('lz4'), path('copy')])],
    [
      'VACUUM INTO',
      () => void timed('sqlite3', [path('app.db'), `VACUUM INTO '${path('restored')}'`]),
    ],
    ['restore', restore],
    ['restore, one thread', () => restore('-parallelism', '1')],
  ];
  const measured = new Map(variants.map(([name]) => [name, { seconds: [], cpu: [] } as Measured]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, run] of variants) {
      for (const old of ['copy', 'restored']) fs.rmSync(path(old), { force: true });
      const [start, cpu] = [performance.now(), cpuSeconds('self', 'children')];
      run();
      const { seconds, cpu: spent } = present(measured.get(name), name);
      seconds.push((performance.now() - start) / 1000);
      spent.push(cpuSeconds('self', 'children') - cpu);
    }
    checkData();
  }
  return measured;
}

/** Peak memory of a restore, MB. */
async function peakMemory(): Promise<number> {
  fs.rmSync(path('restored'), { force: true });
  const child = spawn(COMMAND, ['restore', '-o', path('restored'), `file://${path('replica')}`], {
    stdio: 'ignore',
  });
  let peak = 0;
  while (child.exitCode === null) {
    // The kernel keeps the peak; only that of the last milliseconds is missed.
    const status = fs.readFileSync(`/proc/${child.pid}/status`, 'utf8');
    peak = Math.max(peak, Number(/^VmHWM:\s*(\d+)/m.exec(status)?.[1] ?? 0));
    await wait(10);
  }
  return peak / 1024;
}

/**
 * How long a restore in this process holds up the event loop: milliseconds of processor time between two looks of a timer. Elapsed time
 * would mostly tell how busy the machine is.
 */
async function longestTurns(): Promise<{ readonly p99: number; readonly max: number }> {
  const clock = systemClock;
  const client = await openFileReplica(path('replica'), {
    clock,
    fileSystem: nodeFileSystem,
    logger: noopLogger,
  });
  const turns: number[] = [];
  let last = process.threadCpuUsage();
  const timer = setInterval(() => {
    const { system, user } = process.threadCpuUsage();
    turns.push((system + user - last.system - last.user) / 1000);
    last = { system, user };
  }, 1);
  await restoreDatabase({
    client,
    outputPath: path('in-process'),
    target: {},
    fileSystem: nodeFileSystem,
    clock,
    logger: noopLogger,
  });
  clearInterval(timer);
  const sorted = turns.toSorted((a, b) => b - a);
  return { p99: present(sorted[Math.floor(sorted.length / 100)], 'turn'), max: sorted[0] ?? 0 };
}

try {
  await prepare();
  const measured = measure();
  const limits = ['cp + sync', 'lz4 -d', 'VACUUM INTO'];
  for (const [name, { cpu, seconds }] of measured) {
    const ratios = limits.map((of) => {
      const limit = present(measured.get(of), of);
      const time = (least(seconds) / least(limit.seconds)).toFixed(2);
      return `${of}: time ${time}×, CPU ${(median(cpu) / median(limit.cpu)).toFixed(2)}×`;
    });
    process.stdout.write(
      `${name.padEnd(20)}${least(seconds).toFixed(2).padStart(6)} s ${median(cpu).toFixed(2).padStart(6)} CPU s   ${ratios.join('   ')}\n`,
    );
  }
  process.stdout.write(`peak memory ${(await peakMemory()).toFixed(0)} MB\n`);
  const { max, p99 } = await longestTurns();
  process.stdout.write(`event loop held up: p99 ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms\n`);
} finally {
  fs.rmSync(folder, { recursive: true });
}
