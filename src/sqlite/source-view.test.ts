import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { parseWalHeader } from '../formats/sqlite/index.ts';
import { systemClock } from '../lib/clock.ts';
import { Application } from '../../test/support/application.ts';
import { pagesOf } from '../../test/support/engine.ts';
import { tempDir } from '../../test/support/temp-dir.ts';
import { SourceView, type WalPosition } from './index.ts';

const PAGE_SIZE = 4096;

async function open(t: TestContext, path: string): Promise<SourceView> {
  const view = await SourceView.open(path, systemClock);
  assert.ok(typeof view !== 'string', 'there is something to look at');
  t.after(() => view.close());
  return view;
}

const digest = (page: Uint8Array): string => createHash('sha1').update(page).digest('hex');

function pages(view: SourceView): string[] {
  return Array.from({ length: view.commit }, (_, n) => {
    const page = new Uint8Array(PAGE_SIZE);
    view.read(n + 1, 1, page);
    return digest(page);
  });
}

/** The database's pages as SQLite would recover them from copies of its files. */
function expected(path: string, folder: string): string[] {
  const copy = join(folder, 'copy.db');
  for (const suffix of ['', '-wal', '-shm']) rmSync(copy + suffix, { force: true });
  // In another process: closing a descriptor here would drop the locks of this one.
  for (const suffix of ['', '-wal']) {
    if (existsSync(path + suffix)) execFileSync('cp', [path + suffix, copy + suffix]);
  }
  return pagesOf(copy, PAGE_SIZE).map(digest);
}

/** The end of the WAL, when every frame in it is of the present generation. */
function endOfWal(path: string): WalPosition {
  const bytes = readFileSync(`${path}-wal`);
  const parsed = parseWalHeader(bytes);
  assert.ok(parsed.kind === 'ok');
  const { salt1, salt2 } = parsed.header;
  return { salt1, salt2, offset: bytes.length };
}

async function application(t: TestContext): Promise<Application> {
  return Application.open(t, join(tempDir(t), 'app.db'), { rows: 200 });
}

test('a view with frames in the WAL stands still, and moves to a later position', async (t) => {
  const app = await application(t);
  await app.exec('PRAGMA wal_checkpoint(PASSIVE)');
  await app.insert(20);
  await app.exec('UPDATE t SET v = 7 WHERE id < 50');
  const before = expected(app.path, tempDir(t));
  const view = await open(t, app.path);
  await app.exec('DELETE FROM t WHERE id % 2 = 0');
  await app.insert(300);
  await app.exec('PRAGMA wal_checkpoint(PASSIVE)');
  assert.ok(view.seek());
  assert.deepEqual(pages(view), before);
  assert.ok(view.seek(endOfWal(app.path)));
  assert.deepEqual(pages(view), expected(app.path, tempDir(t)));
});

test('a view of a database whose WAL is all moved follows into the next generation', async (t) => {
  const app = await application(t);
  await app.exec('PRAGMA wal_checkpoint(PASSIVE)');
  const before = expected(app.path, tempDir(t));
  const old = endOfWal(app.path);
  const view = await open(t, app.path);
  assert.ok(view.seek(old));
  await app.exec('UPDATE t SET v = 8 WHERE id < 100');
  const { salt1, salt2 } = endOfWal(app.path);
  assert.notDeepEqual([salt1, salt2], [old.salt1, old.salt2], 'the WAL was restarted');
  assert.deepEqual(pages(view), before);
  assert.ok(view.seek());
  assert.deepEqual(pages(view), before);
  const frames = (count: number): WalPosition => ({ salt1, salt2, offset: 32 + count * 4120 });
  let reached = 0;
  for (let count = 1; count < 1000 && reached === 0; count++) {
    if (view.seek(frames(count))) reached = count;
  }
  assert.ok(reached > 0, 'the end of the first transaction is found');
  assert.deepEqual(pages(view), expected(app.path, tempDir(t)));
});

test('a view of a database without frames, or without a WAL, shows its file', async (t) => {
  const app = await application(t);
  await app.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  const wanted = expected(app.path, tempDir(t));
  const view = await open(t, app.path);
  assert.ok(view.seek());
  assert.deepEqual(pages(view), wanted);
  view.close();
  await app.close();
  assert.equal(existsSync(`${app.path}-wal`), false);
  assert.deepEqual(pages(await open(t, app.path)), wanted);
});

test('positions that are older, foreign, in the middle of a transaction or not written are refused', async (t) => {
  const app = await application(t);
  const first = endOfWal(app.path);
  await app.insert(200);
  const view = await open(t, app.path);
  const end = endOfWal(app.path);
  assert.equal(view.seek(first), false);
  assert.equal(view.seek({ ...end, salt1: end.salt1 ^ 1 }), false);
  assert.equal(view.seek({ ...end, offset: end.offset + 4120 }), false);
  assert.equal(view.seek({ ...end, offset: end.offset - 4120 }), false);
  assert.equal(view.seek({ ...end, offset: end.offset + 1 }), false);
  assert.ok(view.seek(end));
});

test('C3 a view keeps the WAL when it closes, also as the last user of the database', async (t) => {
  const app = await application(t);
  const size = statSync(`${app.path}-wal`).size;
  await app.kill();
  const view = await open(t, app.path);
  view.close();
  assert.equal(statSync(`${app.path}-wal`).size, size);
});

test('what is no WAL database is told in words', async (t) => {
  const path = join(tempDir(t), 'app.db');
  assert.equal(await SourceView.open(path, systemClock), `there is no database at ${path}`);
  const app = new Application(path);
  t.after(() => app.kill());
  await app.exec('PRAGMA journal_mode = delete', 'CREATE TABLE t (v)');
  assert.equal(await SourceView.open(path, systemClock), `${path} is not in WAL mode`);
});
