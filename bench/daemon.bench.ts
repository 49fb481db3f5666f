/**
 * What a daemon costs that has nothing to do, and how long it takes to begin: `node bench/daemon.bench.ts [databases]`.
 *
 * Limits of the same run: Node.js with an empty script, bare `node:sqlite` connections, and `fstat` of the same files.
 * Linux only. Spec: performance 16, P14, P17–P21.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as wait } from 'node:timers/promises';
import { figure, isQuick } from './harness/figures.ts';
import { COMMAND, cpuSeconds, Daemon, memoryOf, timed, until } from './harness/processes.ts';

const databases = Number(process.argv[2] ?? (isQuick ? 100 : 1000));
const folder = fs.mkdtempSync(join(tmpdir(), 'litestream-bench-'));
const ROUNDS = isQuick ? 6 : 12;
const SETTLE_MS = 2500;

/** A configuration of databases with a row each. */
function fleet(name: string, count: number): { readonly config: string; readonly at: string } {
  const at = join(folder, name);
  fs.mkdirSync(at);
  const seed = new DatabaseSync(join(at, 'seed.db'));
  seed.exec('PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)');
  seed.exec("INSERT INTO t VALUES (1, 'x')");
  seed.close();
  const lines = ['dbs:'];
  for (let index = 0; index < count; index++) {
    fs.copyFileSync(join(at, 'seed.db'), join(at, `${index}.db`));
    lines.push(`  - path: ${at}/${index}.db`, '    replica:', `      url: file://${at}/r/${index}`);
  }
  fs.writeFileSync(join(at, 'litestream.yml'), `${lines.join('\n')}\n`);
  return { config: join(at, 'litestream.yml'), at };
}

function hasFirstSync(at: string, index: number): boolean {
  return fs.existsSync(join(at, `r/${index}/ltx/0/0000000000000001-0000000000000001.ltx`));
}

/** The restore of a replica has to be the database. */
function checkRestore(at: string, index: number): void {
  const restored = join(at, 'restored.db');
  timed(COMMAND, ['restore', '-o', restored, `file://${at}/r/${index}`]);
  const rows = (path: string): string => {
    const db = new DatabaseSync(path, { readOnly: true });
    try {
      return JSON.stringify(db.prepare('SELECT * FROM t ORDER BY id').all());
    } finally {
      db.close();
    }
  };
  if (rows(restored) !== rows(join(at, `${index}.db`))) throw new Error('the restore is wrong');
  fs.rmSync(restored);
}

/** Processor time of commands that end; the clock steps by 10 ms, so it is taken over all rounds. */
function cpuOf(args: readonly string[], command: string): number {
  const before = cpuSeconds('self', 'children');
  timed(command, args);
  return cpuSeconds('self', 'children') - before;
}

async function start(): Promise<void> {
  const used = { empty: 0, version: 0, opened: 0 };
  const { at } = fleet('start', ROUNDS + 1);
  timed(COMMAND, ['version']);
  for (let round = 0; round <= ROUNDS; round++) {
    used.empty += cpuOf(['-e', ''], process.execPath);
    used.version += cpuOf(['version'], COMMAND);
    const daemon = new Daemon(COMMAND, [
      'replicate',
      `${at}/${round}.db`,
      `file://${at}/r/${round}`,
    ]);
    await until('an open database', () => fs.existsSync(`${at}/${round}.db-shm`));
    used.opened += cpuSeconds(daemon.pid);
    await until('a first sync', () => hasFirstSync(at, round));
    await daemon.stop();
  }
  checkRestore(at, ROUNDS);
  figure('P20', used.version / used.empty);
  figure('P21', used.opened / used.empty);
}

/** Memory of processes that hold still. */
async function memory(): Promise<void> {
  const bare = new Daemon(process.execPath, ['-e', 'setInterval(() => {}, 1e6)']);
  const connections = new Daemon(process.execPath, ['-e', connectionScript(fleet('bare', 100).at)]);
  const one = fleet('one', 1);
  const many = fleet('many', databases);
  const single = new Daemon(COMMAND, ['replicate', '-config', one.config]);
  await until('a first sync', () => hasFirstSync(one.at, 0));
  await wait(SETTLE_MS);
  const [empty, idle] = [memoryOf(bare.pid), memoryOf(single.pid)];
  const connection = (memoryOf(connections.pid).pss - empty.pss) / 100;
  for (const daemon of [bare, connections, single]) await daemon.stop();
  figure('P17', idle.rss / empty.rss);
  figure('P18', idle.anonymous / empty.anonymous);

  const began = performance.now();
  const daemon = new Daemon(COMMAND, ['replicate', '-config', many.config]);
  await until('all first syncs', () => {
    for (let index = databases - 1; index >= 0; index--) {
      if (!hasFirstSync(many.at, index)) return false;
    }
    return true;
  });
  const seconds = (performance.now() - began) / 1000;
  if (!isQuick) await idleCpu(daemon, many.at);
  else await wait(SETTLE_MS);
  const { pss } = memoryOf(daemon.pid);
  await daemon.stop();
  checkRestore(many.at, databases - 1);
  process.stdout.write(
    `${databases} databases: first sync ${seconds.toFixed(1)} s, ${pss.toFixed(0)} MB; one ${idle.pss.toFixed(0)} MB\n`,
  );
  figure('P19', (pss - idle.pss) / (databases - 1) / connection);
}

function connectionScript(at: string): string {
  return `const { DatabaseSync } = require('node:sqlite'); globalThis.all = [];
    for (let i = 0; i < 100; i++) { const db = new DatabaseSync(${JSON.stringify(at)} + '/' + i + '.db');
      db.exec('BEGIN'); db.prepare('SELECT count(*) FROM t').get(); all.push(db); }
    setInterval(() => {}, 1e6)`;
}

/** When compactions and snapshots of the start are through. */
async function idleCpu(daemon: Daemon, at: string): Promise<void> {
  await wait(60_000);
  const before = cpuSeconds(daemon.pid);
  await wait(20_000);
  const used = (cpuSeconds(daemon.pid) - before) / 20;
  const files = Array.from({ length: databases }, (_, index) =>
    fs.openSync(`${at}/${index}.db-wal`, 'r'),
  );
  const from = process.cpuUsage();
  const seconds = 8;
  for (let second = 0; second < seconds; second++) {
    for (const file of files) fs.fstatSync(file);
    await wait(1000);
  }
  const { system, user } = process.cpuUsage(from);
  for (const file of files) fs.closeSync(file);
  process.stdout.write(`idle: ${(100 * used).toFixed(2)} % of a core\n`);
  figure('P14', used / ((system + user) / 1e6 / seconds));
}

try {
  if (process.platform !== 'linux') throw new Error('this benchmark reads /proc');
  await start();
  await memory();
} finally {
  fs.rmSync(folder, { recursive: true });
}
