/** Wrong or unusable paths: one clear line, the right status, nothing damaged. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Application } from '../support/application.ts';
import { Daemon, OURS, type Program, runProgram } from '../support/program.ts';
import { filesOf } from '../support/replica-folder.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { Scene } from './scene.ts';

const NOBODY = 65534;

/** Ends with status 1 and says why in one line; returns that line. */
function refused(...args: string[]): string {
  const { status, stderr } = runProgram(OURS, 'replicate', ...args);
  assert.equal(status, 1, stderr);
  const [line = '', ...more] = stderr.trimEnd().split('\n');
  assert.match(line, /^Error: /);
  assert.ok(more.length <= 1 && !stderr.includes('    at '), stderr);
  return stderr;
}

test('a database that does not exist is waited for', async (t) => {
  const scene = new Scene(t);
  const daemon = scene.start();
  await waitFor(() => daemon.log.includes('app.db'), { what: 'a word about the database' });
  await sleep(300);
  daemon.assertRunning();
  assert.ok(!existsSync(scene.database));
  assert.deepEqual(filesOf(scene.replica), []);
  const application = await scene.application();
  await scene.converged();
  await application.insert(2);
  await scene.converged();
  await daemon.stop();
});

test('so is one whose folder does not exist', async (t) => {
  const scene = new Scene(t, { folder: join(tempDir(t), 'not/yet') });
  const daemon = scene.start();
  await sleep(500);
  daemon.assertRunning();
  mkdirSync(join(scene.database, '..'), { recursive: true });
  await scene.application();
  await scene.converged();
});

for (const [name, bytes] of [
  ['text', Buffer.from('not a database at all\n'.repeat(200))],
  ['random bytes', Buffer.from(Array.from({ length: 8192 }, (_, n) => (n * 37 + 11) % 251))],
] as const) {
  test(`CAP-18 a file that is not a database (${name}) is an ERROR line and stays as it is`, async (t) => {
    const scene = new Scene(t);
    writeFileSync(scene.database, bytes);
    const daemon = scene.start();
    await waitFor(() => daemon.log.includes('level=ERROR'), { what: 'an ERROR line' });
    assert.match(daemon.log, /level=ERROR .*db=app\.db.*not a database/);
    daemon.assertRunning();
    assert.deepEqual(readFileSync(scene.database), bytes);
    assert.deepEqual(filesOf(scene.replica), []);
    // A database takes its place.
    rmSync(scene.database);
    await scene.application();
    await scene.converged();
    await daemon.stop();
  });
}

test('an empty file is a database without pages', async (t) => {
  const scene = new Scene(t);
  writeFileSync(scene.database, '');
  const daemon = scene.start();
  await sleep(500);
  daemon.assertRunning();
  assert.doesNotMatch(daemon.log, /level=ERROR/);
  await scene.application();
  await scene.converged();
});

test('a folder as database is refused', (t) => {
  const folder = tempDir(t);
  assert.match(refused(folder, `file://${folder}/replica`), /directory/);
});

test('an unknown scheme is refused, and named', (t) => {
  const folder = tempDir(t);
  assert.match(refused(join(folder, 'app.db'), 'gopher://host/path'), /gopher/);
});

test('OPS-19 two databases in one place are refused before anything is written', async (t) => {
  const scene = new Scene(t);
  await scene.application();
  const other = join(scene.folder, 'other.db');
  await Application.open(t, other, { rows: 20 });
  writeFileSync(
    scene.config,
    `dbs:\n  - { path: ${scene.database}, replica: { path: ${scene.replica} } }\n` +
      `  - { path: ${other}, replica: { path: ${scene.replica} } }\n`,
  );
  const text = refused('-config', scene.config);
  assert.ok(text.includes(other) && text.includes(scene.database), text);
  assert.deepEqual(filesOf(scene.replica), []);
});

for (const link of [false, true]) {
  test(`one database twice is refused (${link ? 'by a symbolic link' : 'by name'})`, async (t) => {
    const scene = new Scene(t);
    await scene.application();
    const other = link ? join(scene.folder, 'link.db') : scene.database;
    if (link) symlinkSync(scene.database, other);
    writeFileSync(
      scene.config,
      `dbs:\n  - { path: ${scene.database}, replica: { path: ${scene.replica} } }\n` +
        `  - { path: ${other}, replica: { path: ${scene.folder}/second } }\n`,
    );
    refused('-config', scene.config);
    assert.deepEqual(
      readdirSync(scene.folder).filter((name) => name.includes('litestream-')),
      [],
    );
  });
}

/** The program as a user without rights; undefined and a visible skip where that cannot be had. */
function unprivileged(t: TestContext): (Program & { folder: string }) | undefined {
  const able = process.getuid?.() === 0 && spawnSync('setpriv', ['--version']).status === 0;
  if (!able) {
    t.skip('root: needed with setpriv to run as somebody else');
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'litestream-nobody-'));
  t.after(() => {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  chmodSync(folder, 0o755);
  const before = ['setpriv', '--reuid', NOBODY, '--regid', NOBODY, '--clear-groups'].map(String);
  return { ...OURS, name: 'ours as nobody', before, folder };
}

test('a replica folder that may not be written to is an ERROR line, and the daemon lives', async (t) => {
  const program = unprivileged(t);
  if (program === undefined) return;
  const { folder } = program;
  const own = join(folder, 'own');
  const closed = join(folder, 'closed');
  mkdirSync(own);
  mkdirSync(closed, { mode: 0o755 });
  const database = join(own, 'app.db');
  await Application.open(t, database, { rows: 100 });
  for (const path of [own, ...readdirSync(own).map((name) => join(own, name))])
    chownSync(path, NOBODY, NOBODY);
  const daemon = new Daemon(t, program, 'replicate', database, `file://${closed}/replica`);
  await waitFor(() => /level=ERROR.*permission denied/.test(daemon.log), { what: 'an ERROR line' });
  daemon.assertRunning();
  chownSync(closed, NOBODY, NOBODY);
  await waitFor(() => filesOf(join(closed, 'replica')).length > 0, { what: 'the upload' });
  await daemon.stop();
});

test('a database in a folder that may not be written to is an ERROR line, and stays as it is', async (t) => {
  const program = unprivileged(t);
  if (program === undefined) return;
  const { folder } = program;
  const database = join(folder, 'app.db');
  const application = await Application.open(t, database, { rows: 100 });
  await application.close();
  const before = readFileSync(database);
  const replica = join(folder, 'replica');
  mkdirSync(replica);
  chownSync(replica, NOBODY, NOBODY);
  const daemon = new Daemon(t, program, 'replicate', database, `file://${replica}`);
  await waitFor(() => daemon.log.includes('level=ERROR'), { what: 'an ERROR line' });
  daemon.assertRunning();
  assert.match(
    daemon.log,
    /level=ERROR .*db=app\.db.*(readonly|read-only|permission|unable to open)/,
  );
  assert.deepEqual(readFileSync(database), before);
  daemon.signal('SIGTERM');
  await daemon.ended();
});

test('OPS-08 each path that may not be written to is named, with its owner and mode', async (t) => {
  const program = unprivileged(t);
  if (program === undefined) return;
  const { folder } = program;
  const own = join(folder, 'own');
  mkdirSync(own);
  chownSync(own, NOBODY, NOBODY);
  const database = join(folder, 'app.db');
  const application = await Application.open(t, database, { rows: 100 });
  chmodSync(database, 0o644);
  const config = join(folder, 'litestream.yml');
  const replica = `replica: {path: ${own}/replica}`;
  writeFileSync(config, `dbs: [{path: ${database}, meta-path: ${own}/meta, ${replica}}]\n`);
  const daemon = new Daemon(t, program, 'replicate', '-config', config);
  await waitFor(() => daemon.log.includes('level=ERROR'), { what: 'an ERROR line' });
  for (const path of [database, `${database}-wal`, `${database}-shm`]) {
    assert.ok(daemon.log.includes(`${path} (owner 0:0, mode 0644)`), daemon.log);
  }
  assert.ok(daemon.log.includes(`${folder} (owner 0:0, mode 0755)`), daemon.log);
  daemon.assertRunning();
  for (const path of [folder, database, `${database}-wal`, `${database}-shm`])
    chownSync(path, NOBODY, NOBODY);
  await waitFor(() => filesOf(join(own, 'replica')).length > 0, { what: 'the upload' });
  await application.insert(1);
  await daemon.stop();
});
