/**
 * Restores from a folder, against programs that write the same bytes: `node bench/restore.bench.ts [MB] [folder]`.
 *
 * A snapshot and increments behind it. Limits of the same run: `cp` and `sync` of the database, `lz4 -d` of it, `VACUUM INTO` by SQLite;
 * for the memory a daemon with one idle database. Spec: performance 8 and 16, P11, P12, P22.
 */
import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as wait } from 'node:timers/promises';
import { present } from '../src/lib/assert.ts';
import { systemClock } from '../src/lib/clock.ts';
import { nodeFileSystem } from '../src/lib/file-system.ts';
import { restoreDatabase } from '../src/restore/index.ts';
import { openFileReplica } from '../src/storage/index.ts';
import { noopLogger } from '../src/telemetry/index.ts';
import { filesOfReplica, makeDatabase, STRIDE } from './harness/databases.ts';
import { figure, isQuick, least } from './harness/figures.ts';
import { COMMAND, Daemon, hasSecondCore, memoryOf, timed, until } from './harness/processes.ts';
import { type Measured, measureRounds, printRatios, type Variant } from './harness/variants.ts';

const megabytes = Number(process.argv[2] ?? (isQuick ? 48 : 256));
const folder = fs.mkdtempSync(join(process.argv[3] ?? tmpdir(), 'litestream-bench-'));
const path = (name: string): string => join(folder, name);
const ROUNDS = 3;
const INCREMENTS = 4;
const SETTLE_MS = 1500;
/** As many as a restore starts at most. */
const THREADS = Math.min(availableParallelism(), 4);

/** The database, its replica and what the limits need. */
async function prepare(): Promise<void> {
  makeDatabase(path('app.db'), megabytes);
  const db = new DatabaseSync(path('app.db'));
  db.exec('PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 0');
  const daemon = new Daemon(COMMAND, ['replicate', path('app.db'), `file://${path('replica')}`]);
  await until('the first file', () => filesOfReplica(path('replica')) > 0);
  for (let round = 0; round < INCREMENTS; round++) {
    const before = filesOfReplica(path('replica'));
    db.exec(`UPDATE item SET noise = randomblob(60) WHERE id % ${STRIDE} = ${round}`);
    await until('an increment', () => filesOfReplica(path('replica')) > before);
  }
  await daemon.stop();
  db.close();
  timed('lz4', ['-1', '-B4', '-qf', path('app.db'), path('lz4')]);
}

function command(): void {
  timed(COMMAND, ['restore', '-o', path('restored'), `file://${path('replica')}`]);
}

/** Without the start of a process, which would be most of it where the database is small. */
async function restoreHere(parallelism: number): Promise<void> {
  const ports = { clock: systemClock, fileSystem: nodeFileSystem, logger: noopLogger };
  const client = await openFileReplica(path('replica'), ports);
  const outputPath = path('restored');
  await restoreDatabase({ ...ports, client, outputPath, target: {}, parallelism });
  await client.close();
}

/** Every page but those that a checkpoint changes in the header has to be the same, so the content is compared. */
function checkData(): void {
  const content = (name: string): string => {
    const sql = `SELECT count(*), sum(length(body)) FROM item; SELECT id, body, noise FROM item WHERE id % ${STRIDE} < 5; PRAGMA quick_check`;
    const { status, stdout } = spawnSync('sqlite3', [path(name), sql], {
      encoding: 'latin1',
      maxBuffer: 1 << 28,
    });
    if (status !== 0) throw new Error(`${name} cannot be read`);
    return stdout;
  };
  if (content('restored') !== content('app.db')) throw new Error('the restored data is other data');
}

function measure(): Promise<ReadonlyMap<string, Measured>> {
  const copy = `cp '${path('app.db')}' '${path('copy')}' && sync '${path('copy')}'`;
  const vacuum = `VACUUM INTO '${path('restored')}'`;
  const prepare = (): void => {
    for (const old of ['copy', 'restored']) fs.rmSync(path(old), { force: true });
  };
  const variants: Variant[] = [
    { name: 'cp + sync', prepare, run: () => void timed('sh', ['-c', copy]) },
    { name: 'lz4 -d', prepare, run: () => void timed('lz4', ['-dqf', path('lz4'), path('copy')]) },
    {
      name: 'VACUUM INTO',
      prepare,
      run: () => void timed('sqlite3', [path('app.db'), vacuum]),
    },
    { name: 'restore, one thread', prepare, run: () => restoreHere(1) },
  ];
  // Threads take longer to start than a small database takes.
  if (!isQuick) {
    variants.push(
      { name: 'restore, threads', prepare, run: () => restoreHere(THREADS) },
      { name: 'restore command', prepare, run: command },
    );
  }
  return measureRounds(ROUNDS, variants, checkData);
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
  if (child.exitCode !== 0) throw new Error('the restore failed');
  checkData();
  return peak / 1024;
}

/** Memory of a daemon with one small database and nothing to do, MB. */
async function idleMemory(): Promise<number> {
  makeDatabase(path('small.db'), 0.1);
  const daemon = new Daemon(COMMAND, ['replicate', path('small.db'), `file://${path('small')}`]);
  await until('the first file', () => filesOfReplica(path('small')) > 0);
  await wait(SETTLE_MS);
  const { rss } = memoryOf(daemon.pid);
  await daemon.stop();
  return rss;
}

try {
  if (process.platform !== 'linux') throw new Error('this benchmark reads /proc');
  await prepare();
  const coresBefore = !isQuick && (await hasSecondCore());
  const measured = await measure();
  printRatios(measured, ['cp + sync', 'lz4 -d', 'VACUUM INTO']);
  const of = (name: string): Measured => present(measured.get(name), name);
  const twoCores = coresBefore && (await hasSecondCore());
  const sum = (values: readonly number[]): number => values.reduce((all, one) => all + one, 0);
  figure(
    'P11',
    twoCores ? least(of('restore, threads').seconds) / least(of('cp + sync').seconds) : undefined,
  );
  figure('P12', sum(of('restore, one thread').cpu) / sum(of('VACUUM INTO').cpu));
  const [idle, peak] = [await idleMemory(), await peakMemory()];
  process.stdout.write(`memory: peak ${peak.toFixed(0)} MB, idle ${idle.toFixed(0)} MB\n`);
  figure('P22', Math.max(0, peak - idle) / THREADS);
} finally {
  fs.rmSync(folder, { recursive: true });
}
