/** What happens to the database file under a running daemon: VACUUM, shrinking, replacement, links, large transactions. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { contentOf, integrityOf } from '../support/app-database.ts';
import { Application } from '../support/application.ts';
import { OURS, runProgram } from '../support/program.ts';
import { filesOf, lastTxid } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { canBe, Scene, SLOW } from './scene.ts';

const LARGE_MIB = SLOW ? 300 : 60;

function pages(path: string): number {
  using database = new DatabaseSync(path, { readOnly: true });
  return Number(database.prepare('PRAGMA page_count').get()?.['page_count']);
}

for (const kind of ['node', 'python'] as const) {
  test(`CAP-08 VACUUM while it runs (application: ${kind})`, async (t) => {
    if (!canBe(t, kind)) return;
    const scene = new Scene(t, { database: ['min-checkpoint-page-count: 20'] });
    const application = await scene.application({ kind, rows: 2000 });
    scene.start();
    await scene.converged();
    for (let round = 0; round < 3; round += 1) {
      await application.exec('DELETE FROM t WHERE id % 3 > 0', 'VACUUM');
      const output = await scene.converged();
      assert.equal(statSync(output).size, pages(scene.database) * 4096);
      await application.insert(400);
    }
    await scene.converged();
    assert.deepEqual(scene.fullLines(), []);
    scene.assertUnbroken();
  });
}

for (const mode of ['full', 'incremental'] as const) {
  test(`CAP-08 auto_vacuum ${mode} shrinks and grows`, async (t) => {
    const scene = new Scene(t, { database: ['min-checkpoint-page-count: 20'] });
    const before = [`PRAGMA auto_vacuum = ${mode}`];
    const application = await scene.application({ before, rows: 2000 });
    scene.start();
    await scene.converged();
    await application.exec('DELETE FROM t WHERE id > 50', 'PRAGMA incremental_vacuum(500)');
    const output = await scene.converged();
    assert.equal(statSync(output).size, pages(scene.database) * 4096);
    assert.ok(pages(output) < 60);
    await application.insert(1000);
    await scene.converged();
    // Shrink and growth that no capture separates.
    await application.exec('DELETE FROM t WHERE id > 50', 'PRAGMA incremental_vacuum(500)');
    await application.insert(700);
    await scene.converged();
    assert.deepEqual(scene.fullLines(), []);
  });
}

test('CAP-15 deleted, and made again under the same name', async (t) => {
  const scene = new Scene(t);
  const first = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  await first.close();
  for (const suffix of ['', '-wal', '-shm']) rmSync(scene.database + suffix, { force: true });
  await sleep(300);
  const second = await scene.application({ rows: 700 });
  await scene.converged();
  await second.insert(3);
  await scene.converged();
  daemon.assertRunning();
  assert.match(daemon.log, /level=WARN msg="database files were replaced, starting over"/);
});

test('CAP-15 E1 commits right before a deletion that the daemon learns of later are restorable', async (t) => {
  const scene = new Scene(t);
  const first = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  const known = lastTxid(scene.replica);
  process.kill(-daemon.pid, 'SIGSTOP');
  await first.insert(40);
  const wanted = contentOf(scene.database);
  await first.close();
  for (const suffix of ['', '-wal', '-shm']) rmSync(scene.database + suffix);
  const second = await scene.application({ rows: 700 });
  process.kill(-daemon.pid, 'SIGCONT');
  await scene.converged();
  const output = join(scene.folder, 'former.db');
  const txid = (known + 1).toString(16).padStart(16, '0');
  const flags = ['-txid', txid, '-o', output];
  const { status, stderr } = runProgram(OURS, 'restore', ...flags, `file://${scene.replica}`);
  assert.equal(status, 0, stderr);
  assert.equal(contentOf(output), wanted);
  await second.insert(3);
  await scene.converged();
  await daemon.stop();
  scene.assertUnbroken();
});

test('CAP-15 replaced by another file in one rename, the application never knew', async (t) => {
  const scene = new Scene(t);
  const first = await scene.application();
  const path = join(scene.folder, 'other.db');
  const other = await Application.open(t, path, { rows: 900, kind: 'node' });
  await other.close();
  const daemon = scene.start();
  await scene.converged();
  await first.close();
  for (const suffix of ['-wal', '-shm']) rmSync(scene.database + suffix, { force: true });
  renameSync(path, scene.database);
  const second = await Application.open(t, scene.database);
  await second.insert(1);
  await scene.converged();
  await second.insert(1);
  await scene.converged();
  await daemon.stop();
  scene.equal();
  scene.assertUnbroken();
});

test('the WAL removed under the daemon and everybody else', async (t) => {
  const scene = new Scene(t);
  const first = await scene.application();
  scene.start();
  await scene.converged();
  await first.kill();
  for (const suffix of ['-wal', '-shm']) rmSync(scene.database + suffix, { force: true });
  const second = await Application.open(t, scene.database, { rows: 20 });
  await scene.converged();
  await second.insert(1);
  await scene.converged();
});

test(`CAP-13 one transaction of ${LARGE_MIB} MiB, and one rolled back`, async (t) => {
  const scene = new Scene(t, { database: ['max-sync-wal-bytes: 4194304'] });
  const application = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  const before = lastTxid(scene.replica);
  const rows = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${LARGE_MIB * 16})
    SELECT 'large', randomblob(65000) FROM n`;
  await application.exec('BEGIN', `INSERT INTO t (v, b) ${rows}`);
  await sleep(500);
  assert.equal(lastTxid(scene.replica), before);
  await application.exec('ROLLBACK');
  await application.insert(5);
  await scene.converged();
  await application.exec(`INSERT INTO t (v, b) ${rows}`);
  await scene.converged();
  // The WAL starts over behind it.
  await waitFor(
    async () => {
      await application.insert(1);
      return scene.fullLines().length === 0 && statSync(`${scene.database}-wal`).mtimeMs > 0;
    },
    { what: 'writes behind the large transaction' },
  );
  await scene.converged();
  daemon.assertRunning();
  assert.deepEqual(scene.fullLines(), []);
  scene.assertUnbroken();
});

test('CAP-22 a symbolic link as path: WAL beside the target, one database under both names', async (t) => {
  const scene = new Scene(t);
  mkdirSync(join(scene.folder, 'real'));
  const target = join(scene.folder, 'real', 'data.db');
  symlinkSync(target, scene.database);
  const application = await Application.open(t, target, { rows: 100 });
  const daemon = scene.start();
  await scene.converged();
  await application.insert(30);
  await scene.converged();
  await daemon.stop();
  await application.insert(5);
  scene.start();
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
});

test('a link that is turned to another database is followed', async (t) => {
  const scene = new Scene(t);
  const [a, b] = [join(scene.folder, 'a.db'), join(scene.folder, 'b.db')];
  await Application.open(t, a, { rows: 100 });
  const second = await Application.open(t, b, { rows: 400 });
  symlinkSync(a, scene.database);
  const daemon = scene.start();
  await scene.converged();
  symlinkSync(b, `${scene.database}.new`);
  renameSync(`${scene.database}.new`, scene.database);
  await second.insert(1);
  await scene.converged();
  daemon.assertRunning();
});

test('the journal mode cannot be changed under the daemon', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  await application.exec('PRAGMA busy_timeout = 200');
  scene.start();
  await scene.converged();
  await assert.rejects(application.exec('PRAGMA journal_mode = delete'), /locked/);
  await application.insert(3);
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
});

test('a database in rollback mode is switched to WAL', async (t) => {
  const scene = new Scene(t);
  const application = new Application(scene.database, 'node');
  t.after(() => application.kill());
  await application.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, b BLOB)');
  await application.insert(200);
  scene.start();
  await scene.converged();
  await application.insert(10);
  const [row] = await application.exec('PRAGMA journal_mode');
  assert.equal(row?.['journal_mode'], 'wal');
  await scene.converged();
});

for (const pageSize of [512, 65536]) {
  test(`pages of ${pageSize} bytes`, async (t) => {
    const scene = new Scene(t, { database: ['min-checkpoint-page-count: 10'] });
    const application = await scene.application({ before: [`PRAGMA page_size = ${pageSize}`] });
    const daemon = scene.start();
    await scene.converged();
    await application.run({ seed: 1, pauseMs: 5 });
    await sleep(1_000);
    await application.pause();
    await scene.converged();
    await daemon.stop();
    assert.deepEqual(scene.fullLines(), []);
    await application.insert(1);
    scene.start();
    await scene.converged();
  });
}

test('what we restore, other SQLite builds accept', async (t) => {
  if (!canBe(t, 'python')) return;
  const scene = new Scene(t);
  const application = await scene.application();
  await application.exec(
    'CREATE VIRTUAL TABLE words USING fts5(a)',
    "INSERT INTO words VALUES ('hello')",
    'CREATE TABLE w (k PRIMARY KEY, n) WITHOUT ROWID',
    "INSERT INTO w VALUES ('a', 1)",
    'CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE w SET n = n + 1; END',
    'PRAGMA user_version = 77',
  );
  await application.insert(20);
  const { status, stderr } = runProgram(
    OURS,
    'replicate',
    '-once',
    scene.database,
    `file://${scene.replica}`,
  );
  assert.equal(status, 0, stderr);
  const output = scene.restore();
  assert.ok(output !== undefined);
  assert.equal(integrityOf(output), 'ok');
  const restored = await Application.open(t, output, { kind: 'python' });
  const [check] = await restored.exec('PRAGMA integrity_check');
  assert.equal(check?.['integrity_check'], 'ok');
  assert.deepEqual(await restored.exec("SELECT n FROM w WHERE k = 'a'"), [{ n: 21 }]);
  assert.deepEqual(await restored.exec('PRAGMA user_version'), [{ user_version: 77 }]);
  await restored.insert(10);
  assert.notEqual(contentOf(output), contentOf(scene.database));
  assert.ok(filesOf(scene.replica).length > 0);
});
