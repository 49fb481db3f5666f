/**
 * Both programs on the same work, in turn: `node bench/reference.bench.ts [MB] [rounds]`. Needs the reference, which
 * `node tools/reference.ts` installs; left out where that is impossible.
 *
 * Each restore is compared with its source. Absolute figures hold for this machine and minute; the ratios are what counts.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as wait } from 'node:timers/promises';
import { present } from '../src/lib/assert.ts';
import { referenceBinary } from '../tools/reference.ts';
import { least, median } from './harness/figures.ts';
import { COMMAND, cpuSeconds, Daemon, memoryOf, timed, until } from './harness/processes.ts';

const megabytes = Number(process.argv[2] ?? 64);
const ROUNDS = Number(process.argv[3] ?? 3);
const FLEETS = [1, 100] as const;
const COMMITS = 40;
const folder = fs.mkdtempSync(join(tmpdir(), 'litestream-bench-'));
const FIRST = '0000000000000001-0000000000000001.ltx';

interface Program {
  readonly name: string;
  readonly command: string;
}

/** Values by measure and program. */
const values = new Map<string, Map<string, number[]>>();

function note(measure: string, { name }: Program, value: number): void {
  const ofMeasure = values.get(measure) ?? new Map<string, number[]>();
  values.set(measure, ofMeasure);
  ofMeasure.set(name, [...(ofMeasure.get(name) ?? []), value]);
}

/** Runs a command to its end and notes its time and its processor time. */
function noteRun(measure: string, program: Program, args: readonly string[]): void {
  const before = cpuSeconds('self', 'children');
  note(`${measure}, ms`, program, timed(program.command, args));
  note(`${measure}, CPU ms`, program, (cpuSeconds('self', 'children') - before) * 1000);
}

function makeDatabase(path: string, bytes: number): void {
  const db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = wal; PRAGMA synchronous = off');
  db.exec('CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT)');
  const insert =
    db.prepare(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO item (body) SELECT hex(randomblob(90)) || printf('%.*c', 200, 'x') FROM n`);
  for (let rows = 0; rows * 400 < bytes; rows += 10_000) insert.run(Math.min(10_000, bytes / 400));
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  db.close();
}

function same(one: string, other: string): void {
  const rows = (path: string): string => {
    const db = new DatabaseSync(path, { readOnly: true });
    try {
      const sql = 'SELECT count(*) AS n, max(id) AS last, sum(length(body)) AS size FROM item';
      return JSON.stringify([db.prepare(sql).all(), db.prepare('PRAGMA quick_check').all()]);
    } finally {
      db.close();
    }
  };
  if (rows(one) !== rows(other)) throw new Error(`${one} and ${other} differ`);
}

function snapshotAndRestore(programs: readonly Program[]): void {
  const source = join(folder, 'source.db');
  makeDatabase(source, megabytes * 1e6);
  for (let round = 0; round < ROUNDS; round++) {
    for (const program of programs) {
      const at = fs.mkdtempSync(join(folder, 'snapshot-'));
      const copy = join(at, 'app.db');
      fs.copyFileSync(source, copy);
      const config = join(at, 'litestream.yml');
      fs.writeFileSync(
        config,
        `dbs:\n  - path: ${copy}\n    replica:\n      url: file://${at}/r\n`,
      );
      noteRun(`snapshot ${megabytes} MB`, program, ['replicate', '-once', '-config', config]);
      for (const reader of programs) {
        const out = join(at, `${reader.name}.db`);
        noteRun(`restore ${megabytes} MB`, reader, ['restore', '-o', out, `file://${at}/r`]);
        same(out, source);
      }
      fs.rmSync(at, { recursive: true });
    }
  }
}

function start(programs: readonly Program[]): void {
  for (let round = 0; round < 2 * ROUNDS + 1; round++) {
    for (const program of programs) noteRun('version', program, ['version']);
  }
}

async function lag(program: Program): Promise<void> {
  const at = fs.mkdtempSync(join(folder, 'lag-'));
  makeDatabase(join(at, 'app.db'), 1e6);
  const level = join(at, 'r/ltx/0');
  const daemon = new Daemon(program.command, ['replicate', join(at, 'app.db'), `file://${at}/r`]);
  await until('a first sync', () => fs.existsSync(join(level, FIRST)));
  await wait(3000);
  const db = new DatabaseSync(join(at, 'app.db'), { timeout: 10_000 });
  for (let commit = 0; commit < COMMITS; commit++) {
    await wait(50 + ((commit * 131) % 500));
    const files = (): number =>
      fs.readdirSync(level).filter((name) => name.endsWith('.ltx')).length;
    const before = files();
    db.exec("INSERT INTO item (body) VALUES ('y')");
    const began = performance.now();
    await until('a replicated commit', () => files() > before);
    note('lag, p50 ms', program, performance.now() - began);
  }
  await daemon.stop();
  db.close();
  timed(program.command, ['restore', '-o', join(at, 'out.db'), `file://${at}/r`]);
  same(join(at, 'out.db'), join(at, 'app.db'));
}

async function fleet(program: Program, count: number): Promise<void> {
  const at = fs.mkdtempSync(join(folder, 'fleet-'));
  makeDatabase(join(at, 'seed'), 8000);
  const lines = ['dbs:'];
  for (let index = 0; index < count; index++) {
    fs.copyFileSync(join(at, 'seed'), join(at, `${index}.db`));
    lines.push(`  - path: ${at}/${index}.db`, '    replica:', `      url: file://${at}/r/${index}`);
  }
  fs.writeFileSync(join(at, 'litestream.yml'), `${lines.join('\n')}\n`);
  const began = performance.now();
  const daemon = new Daemon(program.command, ['replicate', '-config', join(at, 'litestream.yml')]);
  const missing = new Set(Array.from({ length: count }, (_, index) => index));
  await until('first syncs', () => {
    for (const index of missing) {
      if (!fs.existsSync(join(at, `r/${index}/ltx/0`, FIRST))) return false;
      missing.delete(index);
    }
    return true;
  });
  note(`first sync of ${count}, ms`, program, performance.now() - began);
  note(`first sync of ${count}, CPU ms`, program, cpuSeconds(daemon.pid) * 1000);
  await wait(10_000);
  note(`memory with ${count}, MB`, program, memoryOf(daemon.pid).pss);
  await daemon.stop();
}

function print(programs: readonly Program[]): void {
  for (const [measure, byProgram] of values) {
    const middle = programs.map(({ name }) => median(present(byProgram.get(name), name)));
    const best = programs.map(({ name }) => least(present(byProgram.get(name), name)));
    const ratio = ([ours = 0, reference = 0]: readonly number[]): string =>
      reference === 0 ? '–' : `${(ours / reference).toFixed(2)}×`;
    const columns = middle.map((value, index) => `${programs[index]?.name} ${value.toFixed(1)}`);
    process.stdout.write(
      `${measure.padEnd(28)}${columns.join('  ').padEnd(36)}${ratio(middle).padStart(7)}  (best ${ratio(best)})\n`,
    );
  }
}

async function main(): Promise<void> {
  const reference = await referenceBinary();
  if (reference === undefined) {
    process.stdout.write('left out: the reference is not installed\n');
    return;
  }
  const programs: readonly Program[] = [
    { name: 'ours', command: COMMAND },
    { name: 'reference', command: reference },
  ];
  start(programs);
  snapshotAndRestore(programs);
  for (const program of programs) await lag(program);
  for (const count of FLEETS) for (const program of programs) await fleet(program, count);
  print(programs);
}

try {
  await main();
} finally {
  fs.rmSync(folder, { recursive: true });
}
