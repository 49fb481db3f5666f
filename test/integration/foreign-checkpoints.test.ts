/** Other processes checkpoint in every mode, write at full speed, or read for long: no frame is lost, nothing is written twice. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Application } from '../support/application.ts';
import { filesOf, lastTxid } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { canBe, Scene, SLOW } from './scene.ts';

const RUN_MS = SLOW ? 30_000 : 5_000;

for (const pages of [10, 1000]) {
  test(`CHK-13 two writers and a checkpointer without pause, threshold ${pages} pages`, async (t) => {
    const scene = new Scene(t, { database: [`min-checkpoint-page-count: ${pages}`] });
    const one = await scene.application();
    await one.exec('CREATE INDEX i ON t (v)');
    const two = canBe(t, 'python') ? await scene.application({ kind: 'python', rows: 0 }) : one;
    const hostile = await scene.application({ rows: 0 });
    scene.start();
    await scene.converged();
    await hostile.hostile({ seed: 7, pauseMs: 1 });
    for (const [seed, writer] of [one, two].entries()) await writer.run({ seed, maxRows: 5000 });
    await sleep(RUN_MS);
    const writers = [await one.pause(), await two.pause()];
    await scene.converged();
    const { checkpoints } = await hostile.pause();
    t.diagnostic(
      `commits ${writers.map(({ commits }) => commits).join(' + ')}, ${checkpoints} checkpoints`,
    );
    for (const { errors, locked } of writers)
      assert.deepEqual({ errors, locked }, { errors: [], locked: 0 });
    assert.ok(checkpoints > 0);
    assert.deepEqual(scene.fullLines(), []);
    scene.assertUnbroken();
  });
}

test('nobody restarts or truncates the WAL while a read transaction of ours stands in it', async (t) => {
  const scene = new Scene(t, {
    database: ['min-checkpoint-page-count: 100000', 'checkpoint-interval: 0s'],
  });
  const application = await scene.application();
  const other = await scene.application({ rows: 0 });
  await other.exec('PRAGMA busy_timeout = 0');
  scene.start();
  await scene.converged();
  for (const mode of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE', 'TRUNCATE', 'RESTART']) {
    await application.insert(5);
    const [row] = await other.exec(`PRAGMA wal_checkpoint(${mode})`);
    assert.equal(row?.['busy'], mode === 'PASSIVE' ? 0 : 1, mode);
    assert.ok(statSync(`${scene.database}-wal`).size > 0);
  }
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
});

test('CHK-04 beside our own checkpoints others get through only when every frame was moved', async (t) => {
  const scene = new Scene(t, {
    database: ['min-checkpoint-page-count: 5', 'checkpoint-interval: 0s'],
  });
  const application = await scene.application();
  const other = await scene.application({ rows: 0 });
  await other.exec('PRAGMA busy_timeout = 0');
  scene.start();
  await scene.converged();
  const answers = { refused: 0, through: 0, besideOurs: 0 };
  for (let round = 0; round < 40; round += 1) {
    for (const mode of ['FULL', 'RESTART', 'TRUNCATE']) {
      // A page of its own for each row: nothing writes a lost one again.
      await application.insert(1, 3000);
      await sleep((round % 10) * 2);
      const [row] = await other.exec(`PRAGMA wal_checkpoint(${mode})`);
      const { busy, log, checkpointed } = row ?? {};
      answers[busy === 0 ? 'through' : log === -1 ? 'besideOurs' : 'refused'] += 1;
      if (busy === 0) assert.equal(checkpointed, log, mode);
    }
  }
  t.diagnostic(JSON.stringify(answers));
  assert.ok(answers.refused > 0);
  await scene.converged();
  scene.assertUnbroken();
  assert.deepEqual(scene.fullLines(), []);
});

test('CHK-08 an application with automatic checkpoints at every commit', async (t) => {
  const scene = new Scene(t, { database: ['min-checkpoint-page-count: 20'] });
  const application = await scene.application();
  await application.exec('PRAGMA wal_autocheckpoint = 1');
  scene.start();
  await scene.converged();
  await application.run({ seed: 3, pauseMs: 2 });
  await sleep(2_000);
  await application.pause();
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
  assert.ok(statSync(`${scene.database}-wal`).size < 4 << 20);
});

test('CHK-08 an application that opens and closes its only connection for every write', async (t) => {
  const scene = new Scene(t, { database: ['min-checkpoint-page-count: 10'] });
  await (await scene.application()).close();
  scene.start();
  await scene.converged();
  for (let n = 0; n < 15; n += 1) {
    const application = await Application.open(t, scene.database, { rows: 2 });
    await application.exec('PRAGMA wal_autocheckpoint = 1000');
    await application.close();
    assert.ok(statSync(`${scene.database}-wal`).size > 0, 'our connection keeps the WAL');
  }
  await scene.converged();
  assert.equal(scene.fullFiles().length, 1);
});

test('CHK-14 a long-running reader costs nothing while nobody writes', async (t) => {
  const scene = new Scene(t, {
    database: [
      'min-checkpoint-page-count: 10',
      'truncate-page-n: 20',
      'checkpoint-interval: 200ms',
    ],
  });
  const application = await scene.application();
  const reader = await scene.application({ rows: 0 });
  const daemon = scene.start();
  await scene.converged();
  await reader.exec('BEGIN', 'SELECT count(*) FROM t');
  await application.insert(300);
  await scene.converged();
  const wal = `${scene.database}-wal`;
  const settled = await waitFor(
    async () => {
      const before = lastTxid(scene.replica);
      await sleep(500);
      return lastTxid(scene.replica) === before ? before : undefined;
    },
    { what: 'quiet' },
  );
  const size = statSync(wal).size;
  await sleep(2_500);
  assert.equal(lastTxid(scene.replica), settled);
  assert.equal(statSync(wal).size, size);
  await reader.exec('COMMIT');
  await application.insert(1);
  await scene.converged();
  await waitFor(
    async () => {
      await application.insert(1);
      return statSync(wal).size <= size;
    },
    { what: 'the WAL to be reused', stepMs: 100 },
  );
  assert.equal(scene.fullFiles().length, 1);
  await daemon.stop();
  scene.equal();
});

test('CHK-07 a writer with no busy timeout hardly ever meets our lock', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  await application.exec('PRAGMA busy_timeout = 0');
  scene.start();
  await scene.converged();
  await application.run({ seed: 11, pauseMs: 5 });
  await sleep(3_000);
  const { commits, locked, errors } = await application.pause();
  t.diagnostic(`${commits} commits, ${locked} locked`);
  assert.deepEqual(errors, []);
  assert.ok(locked * 50 <= commits, `${locked} of ${commits} were refused`);
  await scene.converged();
  assert.ok(filesOf(scene.replica).length > 1);
});
