/** Rows of the failure catalogue about the daemon's life. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { contentOf } from '../support/app-database.ts';
import { Daemon, OURS, runProgram } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { Scene } from './scene.ts';

test('OPS-16 a database that is locked for long at the start is replicated afterwards', async (t) => {
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
  const program = { name: 'ours as PID 1', path: 'unshare' };
  const command = [OURS.path, 'replicate', '-exec', exec, database, url];
  const daemon = new Daemon(t, program, ...args, ...command);
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
