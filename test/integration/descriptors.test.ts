/** Locks that nothing may drop, and an event loop that nothing may block. */
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OURS, runProgram } from '../support/program.ts';
import { filesOf } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { Scene, SLOW } from './scene.ts';

const LARGE_MIB = SLOW ? 1000 : 200;

/** POSIX locks of a process on a file, as the system lists them: `READ 120 120`. */
function locksOn(path: string, pid: number): string[] {
  const inode = statSync(path).ino;
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1] === 'POSIX' && Number(fields[4]) === pid)
    .filter((fields) => fields[5]?.endsWith(`:${inode}`))
    .map((fields) => `${fields[3]} ${fields[6]} ${fields[7]}`)
    .toSorted();
}

function needLocks(t: TestContext): boolean {
  if (process.platform === 'linux') return true;
  t.skip('linux: only there the system lists locks');
  return false;
}

test('NODE-01 the daemon keeps its locks whatever is done beside it', async (t) => {
  if (!needLocks(t)) return;
  const scene = new Scene(t, { database: ['min-checkpoint-page-count: 10'] });
  const application = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  const held = (): string[] => locksOn(scene.database, daemon.pid);
  const shm = (): string[] => locksOn(`${scene.database}-shm`, daemon.pid);
  assert.ok(held().length > 0, readFileSync('/proc/locks', 'utf8'));
  assert.ok(shm().length > 0);
  const before = held();
  for (const args of [
    ['status', '-config', scene.config],
    ['databases', '-config', scene.config],
    ['ltx', '-config', scene.config, scene.database],
    ['restore', '-config', scene.config, '-o', join(scene.folder, 'copy.db'), scene.database],
  ]) {
    runProgram(OURS, ...args);
    assert.deepEqual(held(), before, args.join(' '));
    assert.ok(shm().length > 0, args.join(' '));
  }
  // Checkpoints, their connections opened and closed, and transactions.
  for (let n = 0; n < 30; n += 1) {
    await application.insert(20);
    assert.deepEqual(held(), before, `after transaction ${n}`);
    assert.ok(shm().length > 0, `after transaction ${n}`);
    await sleep(20);
  }
  await scene.converged();
  assert.deepEqual(held(), before);
  await daemon.stop();
});

test('what another process is refused while our reader stands: TRUNCATE, and removing the WAL', async (t) => {
  const scene = new Scene(t, { database: ['min-checkpoint-page-count: 100000'] });
  const application = await scene.application();
  const other = await scene.application({ rows: 0 });
  await other.exec('PRAGMA busy_timeout = 50');
  scene.start();
  await scene.converged();
  await application.insert(10);
  const [row] = await other.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  assert.equal(row?.['busy'], 1);
  runProgram(OURS, 'status', '-config', scene.config);
  runProgram(
    OURS,
    'restore',
    '-config',
    scene.config,
    '-o',
    join(scene.folder, 'x.db'),
    scene.database,
  );
  await application.insert(10);
  const [again] = await other.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  assert.equal(again?.['busy'], 1);
  await application.close();
  await other.close();
  assert.ok(statSync(`${scene.database}-wal`).size > 0);
  const reopened = await scene.application({ rows: 0 });
  await reopened.insert(1);
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
});

test(`NODE-04 a signal is answered while the first ${LARGE_MIB} MiB are on their way`, async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  await application.exec(
    `INSERT INTO t (v, b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${LARGE_MIB * 16})
     SELECT 'large', randomblob(65000) FROM n`,
    'PRAGMA wal_checkpoint(TRUNCATE)',
  );
  await application.insert(10);
  const daemon = scene.start();
  await waitFor(() => daemon.log.includes('replicating to'), { what: 'the start' });
  await sleep(100);
  const early = filesOf(scene.replica).length === 0;
  daemon.signal('SIGTERM');
  await waitFor(() => daemon.log.includes('signal received') || !daemon.running, {
    what: 'an answer',
  });
  // The answer came while the first file was still being written, or the machine was too fast to tell.
  const answered = filesOf(scene.replica).length === 0;
  t.diagnostic(
    `signal ${early ? 'during' : 'after'} the first sync, answer ${answered ? 'during' : 'after'} it`,
  );
  await daemon.ended(120_000);
  assert.equal(daemon.status, 0);
  scene.equal();
  assert.equal(scene.fullFiles().length, 1);
});
