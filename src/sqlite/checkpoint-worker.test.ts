import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { FakeClock } from '../testing/index.ts';
import { AppDatabase } from '../../test/support/app-database.ts';
import { foreignConnection } from '../../test/support/capture.ts';
import { tempDir } from '../../test/support/temp-dir.ts';
import { CheckpointWorker } from './checkpoint-worker.ts';

test('NODE-15 moves every frame, for several databases, off this thread', async (t) => {
  const worker = new CheckpointWorker(systemClock);
  t.after(() => worker.close());
  const apps = [1, 2, 3].map((n) => new AppDatabase(t, join(tempDir(t), `${n}.db`), { rows: 300 }));
  const results = await Promise.all(apps.map(({ path }) => worker.checkpoint(path)));
  for (const result of results) {
    assert.equal(result.busy, false);
    assert.ok(result.log > 0);
    assert.equal(result.checkpointed, result.log);
  }
});

test('one request does not wait for the thread to be idle', async (t) => {
  const worker = new CheckpointWorker(systemClock);
  t.after(() => worker.close());
  const app = new AppDatabase(t, join(tempDir(t), 'a.db'));
  const first = worker.checkpoint(app.path);
  const second = worker.checkpoint(app.path);
  const [a, b] = await Promise.all([first, second]);
  assert.deepEqual(a, b);
});

test('a reader of somebody else is an answer, not an error', async (t) => {
  const worker = new CheckpointWorker(systemClock);
  t.after(() => worker.close());
  const app = new AppDatabase(t, join(tempDir(t), 'a.db'));
  const other = foreignConnection(t, app.path);
  other.exec('BEGIN');
  other.prepare('SELECT count(*) FROM t').get();
  app.insert(10);
  const result = await worker.checkpoint(app.path);
  assert.ok(result.checkpointed < result.log);
});

test('failures reach the caller, and the thread goes on', async (t) => {
  const folder = tempDir(t);
  const worker = new CheckpointWorker(systemClock);
  t.after(() => worker.close());
  const text = join(folder, 'text.db');
  writeFileSync(text, 'no database, but long enough for a header '.repeat(50));
  await assert.rejects(worker.checkpoint(text), { code: 'ERR_DB_IO', retryable: true });
  await assert.rejects(worker.checkpoint(join(folder, 'missing.db')), { code: 'ERR_DB_IO' });
  assert.equal(existsSync(join(folder, 'missing.db')), false);
  const app = new AppDatabase(t, join(folder, 'a.db'));
  assert.equal((await worker.checkpoint(app.path)).busy, false);
});

test('NODE-16 C3 forgetting a database closes its connection and keeps the WAL while others have it open', async (t) => {
  const worker = new CheckpointWorker(systemClock);
  t.after(() => worker.close());
  const app = new AppDatabase(t, join(tempDir(t), 'a.db'));
  await worker.checkpoint(app.path);
  const wal = readFileSync(`${app.path}-wal`);
  await worker.forget(app.path);
  assert.deepEqual(readFileSync(`${app.path}-wal`), wal);
  await worker.forget(app.path);
  assert.equal((await worker.checkpoint(app.path)).busy, false, 'and can be opened again');
});

test('nothing starts before it is needed', async () => {
  const clock = new FakeClock();
  const worker = new CheckpointWorker(clock);
  await worker.forget('/nowhere');
  await worker.close();
  assert.equal(clock.pending, 0);
});

test('the thread ends after 30 idle seconds and starts again on need', async (t) => {
  const clock = new FakeClock();
  const worker = new CheckpointWorker(clock);
  t.after(() => worker.close());
  const app = new AppDatabase(t, join(tempDir(t), 'a.db'));
  await worker.checkpoint(app.path);
  assert.equal(clock.nextTimerIn, 30_000);
  await clock.advance(20_000);
  await worker.checkpoint(app.path);
  assert.equal(clock.nextTimerIn, 30_000, 'counted from the last request');
  await clock.advance(30_000);
  assert.equal(clock.pending, 0);
  assert.equal((await worker.checkpoint(app.path)).busy, false);
});

test('ending the thread under a request is an error of that request', async (t) => {
  const worker = new CheckpointWorker(systemClock);
  t.after(() => worker.close());
  const app = new AppDatabase(t, join(tempDir(t), 'a.db'), { rows: 2000 });
  const asked = worker.checkpoint(app.path);
  const refused = assert.rejects(asked, { code: 'ERR_DB_IO' });
  await worker.close();
  await refused;
  assert.equal((await worker.checkpoint(app.path)).busy, false);
});

test('a thread that is prepared serves the next request, or ends unused', async (t) => {
  const clock = new FakeClock();
  const worker = new CheckpointWorker(clock);
  t.after(() => worker.close());
  worker.prepare();
  worker.prepare();
  assert.equal(clock.nextTimerIn, 30_000);
  const app = new AppDatabase(t, join(tempDir(t), 'a.db'));
  assert.equal((await worker.checkpoint(app.path)).busy, false);
  await clock.advance(30_000);
  assert.equal(clock.pending, 0);
  worker.prepare();
  await clock.advance(30_000);
  assert.equal(clock.pending, 0);
});
