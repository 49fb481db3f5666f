/** Restores while everybody writes, and life after a restore. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Application } from '../support/application.ts';
import { integrityOf } from '../support/app-database.ts';
import { OURS, runProgram } from '../support/program.ts';
import { lastTxid } from '../support/replica-folder.ts';
import { Scene } from './scene.ts';

const SLOW = process.env['SLOW'] === '1';
const WRITERS = 4;
const RUN_MS = SLOW ? 300_000 : 3_000;
const RESTORE_EVERY_MS = SLOW ? 5_000 : 300;

/** Counts and sums what it inserts, in the same transaction; pages of two indexes change with it. Ends with its standard input. */
const WRITER = `
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(process.argv[1], { timeout: 10_000 });
  db.exec('PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = normal');
  const count = db.prepare('UPDATE c SET n = n + 1, s = s + n + 1');
  const insert = db.prepare('INSERT INTO o (seq, k, b) SELECT n, hex(randomblob(8)), randomblob(abs(random()) % 900) FROM c');
  const change = db.prepare('UPDATE o SET k = hex(randomblob(8)) WHERE seq = (SELECT abs(random()) % n FROM c)');
  let over = false;
  process.stdin.on('end', () => { over = true; }).resume();
  (function write() {
    if (over) return db.close();
    db.exec('BEGIN IMMEDIATE');
    count.run(); insert.run(); change.run();
    db.exec('COMMIT');
    setImmediate(write);
  })();`;

/** Starts writers; returns what ends them. */
function startWriters(t: TestContext, path: string): () => Promise<void> {
  const writers = Array.from({ length: WRITERS }, () =>
    spawn(process.execPath, ['-e', WRITER, path], { stdio: ['pipe', 'ignore', 'inherit'] }),
  );
  t.after(() => {
    for (const writer of writers) writer.kill('SIGKILL');
  });
  return async () => {
    const ended = writers.map((writer) => once(writer, 'close'));
    for (const writer of writers) writer.stdin.end();
    await Promise.all(ended);
    assert.deepEqual(new Set(writers.map(({ exitCode }) => exitCode)), new Set([0]));
  };
}

/** How many transactions a database holds: all of them up to one, and nothing else. */
function prefixOf(path: string): number {
  using db = new DatabaseSync(path, { readOnly: true });
  const row = db
    .prepare(
      `SELECT n, s, (SELECT count(*) FROM o) AS rows, (SELECT coalesce(max(seq), 0) FROM o) AS last,
        (SELECT total(seq) FROM o) AS sum, (SELECT count(*) FROM o WHERE k > '') AS indexed FROM c`,
    )
    .get();
  const { n } = row ?? {};
  assert.deepEqual(
    { ...row },
    { n, s: row?.['sum'], rows: n, last: n, sum: row?.['sum'], indexed: n },
  );
  return Number(n);
}

test('CAP-01 CHK-03 each restore while four applications write and every ten pages are checkpointed is one of their states', async (t) => {
  const scene = new Scene(t, {
    database: ['min-checkpoint-page-count: 10', 'checkpoint-interval: 200ms'],
  });
  const application = await scene.application({ rows: 0 });
  await application.exec(
    'CREATE TABLE o (seq INTEGER PRIMARY KEY, k, b)',
    'CREATE INDEX by_k ON o (k)',
    'CREATE INDEX by_size ON o (length(b))',
    'CREATE TABLE c (n, s)',
    'INSERT INTO c VALUES (0, 0)',
  );
  scene.start();
  await scene.converged();
  const stop = startWriters(t, scene.database);
  const until = performance.now() + RUN_MS;
  let last = 0;
  let restores = 0;
  while (performance.now() < until || restores < 3) {
    await sleep(RESTORE_EVERY_MS);
    const output = scene.restore();
    assert.ok(output !== undefined, scene.log);
    assert.equal(integrityOf(output), 'ok');
    const found = prefixOf(output);
    assert.ok(found >= last, `${found} transactions after ${last}`);
    last = found;
    restores += 1;
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${output}${suffix}`, { force: true });
  }
  await stop();
  const all = prefixOf(scene.database);
  t.diagnostic(`${all} transactions, ${restores} restores`);
  assert.ok(all > 0);
  assert.equal(prefixOf(await scene.converged()), all);
  assert.deepEqual(scene.fullLines(), []);
  scene.assertUnbroken();
});

test('CAP-07 after a disaster and a restore, replication goes on behind the old history', async (t) => {
  const scene = new Scene(t);
  const first = await scene.application();
  const before = scene.start();
  await scene.converged();
  for (let n = 0; n < 5; n += 1) {
    await first.insert(3);
    await scene.converged();
  }
  await before.stop();
  await first.close();
  const newest = lastTxid(scene.replica);
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${scene.database}${suffix}`, { force: true });
  rmSync(join(scene.folder, '.app.db-litestream'), { recursive: true });
  const restored = runProgram(OURS, 'restore', '-config', scene.config, scene.database);
  assert.equal(restored.status, 0, restored.stderr);

  const second = await Application.open(t, scene.database);
  const after = scene.start();
  await second.insert(1);
  await scene.converged();
  await after.stop();
  scene.equal();
  assert.ok(lastTxid(scene.replica) > newest);
  scene.assertUnbroken();
});
