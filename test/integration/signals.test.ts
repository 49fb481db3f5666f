/** The daemon and the application end at every moment, by every signal. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { contentOf } from '../support/app-database.ts';
import { Application, type ApplicationKind } from '../support/application.ts';
import { filesOf, lastTxid } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { canBe, Scene } from './scene.ts';

const KINDS: readonly ApplicationKind[] = ['node', 'python'];

for (const kind of KINDS) {
  test(`SIGTERM uploads what was committed just before (application: ${kind})`, async (t) => {
    if (!canBe(t, kind)) return;
    const scene = new Scene(t);
    const application = await scene.application({ kind });
    const daemon = scene.start();
    await scene.converged();
    await application.insert(50);
    await daemon.stop();
    scene.equal();
    assert.ok(existsSync(`${scene.database}-wal`));
    assert.equal(scene.fullFiles().length, 1);
    scene.assertUnbroken();
  });
}

test('SIGTERM in the first second of its life leaves nothing half-done', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  for (const delayMs of [0, 20, 60, 120, 180, 240, 320, 450, 700, 1000]) {
    await application.insert(3);
    const daemon = scene.start();
    await sleep(delayMs);
    daemon.signal('SIGTERM');
    await daemon.ended();
    // Before the program has begun there is nobody to catch the signal.
    const early = daemon.status === null && daemon.log === '';
    assert.ok(early || daemon.status === 0, `after ${delayMs} ms: ${daemon.status}\n${daemon.log}`);
    assert.doesNotMatch(daemon.log, /level=(ERROR|WARN)/);
    // What has come up goes through the final sync.
    if (daemon.log.includes('initialized db')) scene.equal();
  }
  scene.start();
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
  scene.assertUnbroken();
  await leavesNothing(scene);
});

for (const kind of KINDS) {
  test(`SIGKILL of the daemon at random moments loses nothing (application: ${kind})`, async (t) => {
    if (!canBe(t, kind)) return;
    const scene = new Scene(t, { database: ['min-checkpoint-page-count: 50'] });
    const application = await scene.application({ kind });
    for (let round = 0; round < 8; round += 1) {
      await application.run({ seed: round, pauseMs: round % 2 });
      const daemon = scene.start();
      await sleep(200 + Math.random() * 700);
      await daemon.kill();
    }
    await application.run({ seed: 99 });
    scene.start();
    await sleep(300);
    const { errors, locked } = await application.pause();
    assert.deepEqual({ errors, locked }, { errors: [], locked: 0 });
    await scene.converged();
    scene.assertFullOnlyAtStart();
    scene.assertUnbroken();
    await leavesNothing(scene);
  });
}

for (const kind of KINDS) {
  test(`SIGKILL of the application in the middle of a transaction (${kind})`, async (t) => {
    if (!canBe(t, kind)) return;
    const scene = new Scene(t);
    const first = await scene.application({ kind });
    scene.start();
    await scene.converged();
    const before = contentOf(scene.database);
    const txid = lastTxid(scene.replica);
    // A small cache: frames go to the WAL before the commit, which never comes.
    await first.exec('PRAGMA cache_size = 5', 'BEGIN IMMEDIATE', bulk(3000));
    await first.kill();
    assert.equal(contentOf(scene.database), before);
    await sleep(500);
    assert.equal(lastTxid(scene.replica), txid, 'nothing was committed');
    const second = await Application.open(t, scene.database, { kind });
    await second.insert(10);
    await scene.converged();
    assert.equal(scene.fullFiles().length, 1);
    scene.assertUnbroken();
  });
}

test('killed together, both find everything that was committed', async (t) => {
  const scene = new Scene(t, { database: ['min-checkpoint-page-count: 20'] });
  for (let round = 0; round < 4; round += 1) {
    const application = await scene.application({ rows: 20 });
    const daemon = scene.start();
    await application.run({ seed: round });
    await sleep(300 + Math.random() * 500);
    await Promise.all([application.kill(), daemon.kill()]);
  }
  const application = await scene.application();
  scene.start();
  await scene.converged();
  await application.insert();
  await scene.converged();
});

test('OPS-03 OPS-18 a second signal does not wait for a store that is down', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  const txid = lastTxid(scene.replica);
  scene.block();
  await application.insert();
  daemon.signal('SIGTERM');
  await waitFor(() => daemon.log.includes('shutdown sync failed, retrying'), { what: 'a retry' });
  daemon.assertRunning();
  daemon.signal('SIGTERM');
  await daemon.ended();
  assert.equal(daemon.status, 0);
  scene.unblock();
  assert.equal(lastTxid(scene.replica), txid);
  scene.start();
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
});

/** SQL for one large insertion. */
function bulk(rows: number): string {
  return `INSERT INTO t (v, b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    SELECT 'bulk', randomblob(1000) FROM n`;
}

/** The running daemon compacts at its start: a temporary file may be in work, but none stays. */
async function leavesNothing(scene: Scene): Promise<void> {
  await waitFor(() => temporaryFiles(scene).length === 0, { what: 'temporary files to go' });
}

function temporaryFiles(scene: Scene): string[] {
  const local = join(dirname(scene.database), '.app.db-litestream/ltx/0');
  assert.ok(filesOf(scene.replica).length > 0);
  return readdirSync(local).filter((name) => name.endsWith('.tmp'));
}
