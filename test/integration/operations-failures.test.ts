/** Rows of the failure catalogue about the daemon's life. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { contentOf } from '../support/app-database.ts';
import { s3Bench } from '../support/fake-s3/index.ts';
import { Daemon, OURS, runBeside, runProgram } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { Scene, SLOW } from './scene.ts';

test('CAP-18 OPS-16 a database that is locked for long at the start is replicated afterwards', async (t) => {
  const scene = new Scene(t, { top: ['levels: [{ interval: 1s }]'] });
  const owner = new DatabaseSync(scene.database);
  t.after(() => {
    if (owner.isOpen) owner.close();
  });
  owner.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = wal');
  owner.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v, b); INSERT INTO t (v) VALUES (1)');
  const daemon = scene.start();
  await waitFor(() => /level=ERROR.*database is locked/.test(daemon.log), {
    what: 'an ERROR line',
  });
  assert.match(daemon.log, /hint="another connection holds a lock \(locking_mode=EXCLUSIVE,/);
  assert.equal(scene.restore(), undefined);
  daemon.assertRunning();
  owner.close();
  await scene.converged();
  await waitFor(() => existsSync(join(scene.replica, 'ltx/1')), { what: 'a compaction' });
  await daemon.stop();
});

/** How a command becomes the first process of a namespace; undefined where that is not allowed. */
function firstProcess(): readonly string[] | undefined {
  const args = ['--pid', '--fork', '--kill-child', '--mount-proc'];
  return spawnSync('unshare', [...args, 'true']).status === 0 ? args : undefined;
}

test('OPS-09 as the first process of a container it passes signals on, and nothing is lost', async (t) => {
  const args = firstProcess();
  if (args === undefined) {
    t.skip('root: cannot make a namespace here');
    return;
  }
  const folder = tempDir(t);
  const database = join(folder, 'app.db');
  const url = `file://${folder}/replica`;
  new DatabaseSync(database).close();
  // The child writes once more when it is told to end.
  writeFileSync(
    join(folder, 'child.mjs'),
    `import { DatabaseSync } from 'node:sqlite';
import { writeFileSync } from 'node:fs';
const database = new DatabaseSync(${JSON.stringify(database)}, { timeout: 5000 });
database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, v, b); INSERT INTO t (v) VALUES (1)');
process.on('SIGTERM', () => {
  database.exec('INSERT INTO t (v) VALUES (2)');
  process.exit(3);
});
setInterval(() => undefined, 1000);
writeFileSync(${JSON.stringify(join(folder, 'ready'))}, String(process.ppid));
`,
  );
  const exec = `${process.execPath} ${join(folder, 'child.mjs')}`;
  const program = { ...OURS, name: 'ours as PID 1', before: ['unshare', ...args] };
  const daemon = new Daemon(t, program, 'replicate', '-exec', exec, database, url);
  await waitFor(() => existsSync(join(folder, 'ready')), { what: 'the child' });
  const first = readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, 'utf8').trim();
  assert.match(first, /^\d+$/);
  process.kill(Number(first), 'SIGTERM');
  await daemon.ended();
  assert.ok(daemon.log.includes('exit status 3'), daemon.log);
  const out = join(folder, 'out.db');
  assert.equal(runProgram(OURS, 'restore', '-o', out, url).status, 0);
  assert.equal(contentOf(out), contentOf(database));
});

for (const status of [0, 3]) {
  test(`OPS-02 what a child commits when it is told to end is uploaded, although the store throttles (status ${status})`, async (t) => {
    const { fake } = await s3Bench(t);
    const folder = tempDir(t);
    const database = join(folder, 'app.db');
    const ready = join(folder, 'ready');
    const script = join(folder, 'child.mjs');
    writeFileSync(
      script,
      `import { DatabaseSync } from 'node:sqlite';
import { writeFileSync } from 'node:fs';
const database = new DatabaseSync(${JSON.stringify(database)}, { timeout: 5000 });
database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, v)');
process.on('SIGTERM', () => {
  database.exec("INSERT INTO t (v) VALUES ('last words')");
  process.exit(${status});
});
setInterval(() => undefined, 1000);
writeFileSync(${JSON.stringify(ready)}, '');
`,
    );
    const { accessKeyId, secretAccessKey } = fake.rules.secrets;
    const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
    const program = { ...OURS, env };
    const url = `s3://testbucket/p?endpoint=${fake.endpoint}&forcePathStyle=true`;
    const exec = `${process.execPath} ${script}`;
    const daemon = new Daemon(t, program, 'replicate', '-exec', exec, database, url);
    await waitFor(() => existsSync(ready), { what: 'the child' });
    await waitFor(() => fake.objects.size > 0, { what: 'the first upload' });
    let refused = 0;
    let until = Infinity;
    fake.rules.fault = ({ method }) => {
      if (method !== 'PUT' || performance.now() > until) return undefined;
      refused += 1;
      return { status: 429, code: 'TooManyRequests' };
    };
    daemon.signal('SIGTERM');
    await waitFor(() => refused > 0, { what: 'a refused upload' });
    until = performance.now() + (SLOW ? 10_000 : 2_000);
    await daemon.ended();
    assert.equal(daemon.status, status === 0 ? 0 : 1, daemon.log);
    if (status > 0) assert.match(daemon.log, /exit status 3/);
    assert.ok(refused > 1);
    const output = join(folder, 'out.db');
    const restored = await runBeside(program, 'restore', '-o', output, url);
    assert.equal(restored.status, 0, restored.stderr);
    assert.equal(contentOf(output), contentOf(database));
    using copy = new DatabaseSync(output, { readOnly: true });
    assert.equal(copy.prepare('SELECT max(v) AS v FROM t').get()?.['v'], 'last words');
  });
}

test('NODE-02 replication has a process, and an SQLite library, of its own', async (t) => {
  // Nothing can be imported that would open a database beside the application's own SQLite.
  const root = join(import.meta.dirname, '../..');
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    readonly exports: Readonly<Record<string, string>>;
  };
  for (const target of Object.values(manifest.exports)) assert.match(target, /\.json$/);
  // And what runs beside it takes none of its locks away.
  const scene = new Scene(t);
  using app = new DatabaseSync(scene.database);
  app.exec('PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, v, b)');
  const daemon = scene.start();
  await scene.converged();
  assert.notEqual(daemon.pid, process.pid);
  if (process.platform === 'linux') {
    const loaded = readFileSync(`/proc/${daemon.pid}/maps`, 'utf8');
    // The one SQLite is part of Node.js: neither an addon nor a library of the system is there.
    assert.doesNotMatch(loaded, /sqlite|\.node$/im);
  }
  app.exec("BEGIN IMMEDIATE; INSERT INTO t (v) VALUES ('mine')");
  await daemon.stop();
  const other = `const { DatabaseSync } = require('node:sqlite');
    new DatabaseSync(process.argv[1]).exec("INSERT INTO t (v) VALUES ('not mine')")`;
  const refused = spawnSync(process.execPath, ['-e', other, scene.database], { encoding: 'utf8' });
  assert.match(refused.stderr, /database is locked/);
  app.exec('COMMIT');
  assert.equal(app.prepare('SELECT count(*) AS n FROM t').get()?.['n'], 1);
  scene.start();
  await scene.converged();
});
