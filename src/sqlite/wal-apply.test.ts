import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test, { after } from 'node:test';
import { WalApplier } from './wal-apply.ts';

const folder = mkdtempSync(join(tmpdir(), 'wal apply-'));
after(() => rmSync(folder, { recursive: true }));

const never = new AbortController().signal;

/** A database whose rows beyond the first are in the WAL alone, copied out while it is open. */
function makeCopy(name: string): string {
  const live = join(folder, 'live.db');
  const copy = join(folder, name);
  const db = new DatabaseSync(live);
  db.exec('PRAGMA journal_mode = wal; CREATE TABLE t (v); INSERT INTO t VALUES (1)');
  db.exec('PRAGMA wal_checkpoint(TRUNCATE); PRAGMA wal_autocheckpoint = 0');
  for (let row = 2; row <= 100; row++) db.exec(`INSERT INTO t VALUES (${row})`);
  copyFileSync(live, copy);
  copyFileSync(`${live}-wal`, `${copy}-wal`);
  db.close();
  rmSync(live);
  return copy;
}

function count(path: string): unknown {
  const db = new DatabaseSync(path);
  try {
    return db.prepare('SELECT count(*) AS n FROM t').get()?.['n'];
  } finally {
    db.close();
  }
}

test('moves the whole WAL into the file and leaves nothing beside it', async () => {
  const [first, second] = [makeCopy('first.db'), makeCopy('second db?#%41.db')];
  const applier = new WalApplier();
  await applier.apply(first, never);
  await applier.apply(second, never);
  await applier.close();
  assert.deepEqual(readdirSync(folder).toSorted(), ['first.db', 'second db?#%41.db']);
  assert.equal(count(first), 100);
  assert.equal(count(second), 100);
});

test('says what SQLite says, and goes on with the next', async () => {
  const path = join(folder, 'text.db');
  writeFileSync(path, 'no database '.repeat(1000));
  const applier = new WalApplier();
  await assert.rejects(applier.apply(path, never), {
    code: 'ERR_DB_IO',
    message: /not a database/,
  });
  const missing = join(folder, 'missing.db');
  await assert.rejects(applier.apply(missing, never), { code: 'ERR_DB_IO' });
  assert.ok(!existsSync(missing));
  await applier.apply(makeCopy('third.db'), never);
  await applier.close();
  assert.equal(count(join(folder, 'third.db')), 100);
});

test('ends when its signal fires, and can be used again', async () => {
  const applier = new WalApplier();
  const stop = new AbortController();
  const path = makeCopy('aborted.db');
  const applied = applier.apply(path, stop.signal);
  stop.abort();
  await assert.rejects(applied, { code: 'ERR_ABORTED' });
  await assert.rejects(applier.apply(path, stop.signal), { code: 'ERR_ABORTED' });
  await applier.apply(makeCopy('later.db'), never);
  await applier.close();
  await applier.close();
});
