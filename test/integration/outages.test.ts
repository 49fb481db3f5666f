/** Stores that are down or hang, full disks: loud, and healed without help. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { filesOf, lastTxid } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { Scene } from './scene.ts';

test('a store that goes down is caught up when it is back', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  scene.block();
  for (let n = 0; n < 5; n += 1) {
    await application.insert(20);
    await sleep(60);
  }
  await waitFor(() => daemon.log.includes('level=ERROR'), { what: 'an ERROR line' });
  scene.unblock();
  await scene.converged();
  await waitFor(() => daemon.log.includes('recovered'), { what: 'a word about it' });
  assert.equal(scene.fullFiles().length, 1);
  scene.assertUnbroken();
});

test('CAP-23 a store that is down at the start does not keep commits from being captured', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  mkdirSync(scene.replica);
  scene.block();
  const daemon = scene.start();
  const local = join(scene.folder, '.app.db-litestream/ltx/0');
  await waitFor(() => existsSync(local) && readdirSync(local).length > 0, { what: 'local files' });
  await application.insert(20);
  await waitFor(() => readdirSync(local).length > 1, { what: 'more local files' });
  await waitFor(() => daemon.log.includes('level=ERROR'), { what: 'an ERROR line' });
  scene.unblock();
  await scene.converged();
  scene.assertUnbroken();
});

test('with two stores the other one goes on while one is down', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  const second = join(scene.folder, 'second');
  const daemon = scene.start(scene.database, `file://${scene.replica}`, `file://${second}`);
  await scene.converged(scene.replica);
  await scene.converged(second);
  scene.block();
  await application.insert(50);
  await scene.converged(second);
  await waitFor(() => daemon.log.includes('level=ERROR'), { what: 'an ERROR line' });
  scene.unblock();
  await scene.converged(scene.replica);
  await daemon.stop();
  scene.equal(scene.replica);
  scene.equal(second);
  assert.equal(lastTxid(second), lastTxid(scene.replica));
});

test('with two stores the other one goes on while one hangs', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  const second = join(scene.folder, 'second');
  // Whoever opens a pipe to write waits until somebody reads.
  const level = join(scene.replica, 'ltx/0');
  mkdirSync(level, { recursive: true });
  const names = Array.from({ length: 30 }, (_, n) => (n + 1).toString(16).padStart(16, '0'));
  const pipes = names.map((name) => join(level, `${name}-${name}.ltx.tmp`));
  assert.equal(spawnSync('mkfifo', pipes).status, 0);
  const daemon = scene.start(scene.database, `file://${scene.replica}`, `file://${second}`);
  await scene.converged(second);
  await application.insert(50);
  await scene.converged(second);
  assert.deepEqual(filesOf(scene.replica), [], 'the first store hangs');
  daemon.assertRunning();
  await daemon.kill();
  for (const pipe of pipes) rmSync(pipe, { force: true });
  scene.start(scene.database, `file://${scene.replica}`, `file://${second}`);
  await scene.converged(scene.replica);
  await scene.converged(second);
  assert.equal(scene.fullFiles(second).length, 1);
});

/** A file system of 8 MiB; undefined and a visible skip where that cannot be had. */
function smallDisk(t: TestContext): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-disk-'));
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder]);
  if (status !== 0) {
    rmdirSync(folder);
    t.skip('root: cannot mount a file system here');
    return undefined;
  }
  t.after(() => {
    spawnSync('umount', ['-l', folder]);
    rmdirSync(folder);
  });
  return folder;
}

/** Leaves `spare` bytes free on the file system; returns what gives the rest back. */
function fill(folder: string, spare: number): () => void {
  const { bavail, bsize } = statfsSync(folder);
  const file = openSync(join(folder, 'ballast'), 'w');
  writeSync(file, Buffer.alloc(Math.max(0, bavail * bsize - spare)));
  return () => {
    ftruncateSync(file, 0);
    closeSync(file);
  };
}

test('OPS-05 a disk that is full for the local files', async (t) => {
  const disk = smallDisk(t);
  if (disk === undefined) return;
  const scene = new Scene(t, { folder: disk, database: ['checkpoint-interval: 0s'] });
  const application = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  const before = lastTxid(scene.replica);
  const release = fill(disk, 700 << 10);
  // Fits into the WAL; its copy does not fit beside it.
  await application.insert(150, 3000);
  await waitFor(
    () => /level=ERROR.*disk full while staging ltx file, replication paused/.test(daemon.log),
    { what: 'an ERROR line' },
  );
  await sleep(500);
  daemon.assertRunning();
  assert.equal(lastTxid(scene.replica), before);
  release();
  await scene.converged();
  scene.assertUnbroken();
  await application.insert(1);
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
  await daemon.stop();
  await application.close();
});

test('OPS-05 a disk that is full for the replica', async (t) => {
  const disk = smallDisk(t);
  if (disk === undefined) return;
  const scene = new Scene(t);
  const application = await scene.application();
  const replica = join(disk, 'replica');
  const daemon = scene.start(scene.database, `file://${replica}`);
  await scene.converged(replica);
  const release = fill(disk, 100 << 10);
  await application.insert(200, 3000);
  await waitFor(() => daemon.log.includes('level=ERROR'), { what: 'an ERROR line' });
  daemon.assertRunning();
  release();
  await scene.converged(replica);
  assert.equal(scene.fullFiles(replica).length, 1);
  scene.assertUnbroken(replica);
  assert.deepEqual(
    readdirSync(join(replica, 'ltx/0')).filter((name) => name.endsWith('.tmp')),
    [],
  );
  await daemon.stop();
});
