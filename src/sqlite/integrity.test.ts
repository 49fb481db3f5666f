import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test, { after } from 'node:test';
import { nodeFileSystem as fileSystem } from '../lib/file-system.ts';
import { checkIntegrity } from './integrity.ts';

const folder = mkdtempSync(join(tmpdir(), 'integrity-'));
after(() => rmSync(folder, { recursive: true }));

/** A database in WAL mode, whole in its one file. */
function makeDatabase(name: string): string {
  const path = join(folder, name);
  const db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = wal');
  db.exec('CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT); CREATE INDEX i ON t (v)');
  db.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    INSERT INTO t (v) SELECT hex(randomblob(50)) FROM n`);
  db.close();
  return path;
}

for (const mode of ['quick', 'full'] as const) {
  test(`a sound database passes the ${mode} check unchanged and without sidecars`, async () => {
    const path = makeDatabase(`sound-${mode}.db`);
    const before = readFileSync(path);
    await checkIntegrity(path, mode, { fileSystem });
    assert.deepEqual(readFileSync(path), before);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith(`sound-${mode}.db`)),
      [`sound-${mode}.db`],
    );
  });
}

test('reports the first row of a damaged database', async () => {
  const path = makeDatabase('damaged.db');
  const fd = openSync(path, 'r+');
  writeSync(fd, new Uint8Array(3000).fill(7), 0, 3000, 3 * 4096);
  closeSync(fd);
  await assert.rejects(checkIntegrity(path, 'full', { fileSystem }), {
    code: 'ERR_INTEGRITY',
    message: /^integrity check failed: ./,
  });
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('damaged.db')),
    ['damaged.db'],
  );
});

test('a file that is no database fails the check', async () => {
  const path = join(folder, 'text.db');
  writeFileSync(path, 'no database at all, but long enough to be read as one '.repeat(200));
  await assert.rejects(checkIntegrity(path, 'quick', { fileSystem }), { code: 'ERR_INTEGRITY' });
});

test('does not create a missing file', async () => {
  const path = join(folder, 'missing.db');
  await assert.rejects(checkIntegrity(path, 'quick', { fileSystem }), { code: 'ERR_INTEGRITY' });
  assert.equal(readdirSync(folder).includes('missing.db'), false);
});

test('ends when its signal fires', async () => {
  const path = join(folder, 'aborted.db');
  copyFileSync(makeDatabase('source.db'), path);
  const controller = new AbortController();
  const checked = checkIntegrity(path, 'full', { fileSystem, signal: controller.signal });
  controller.abort();
  await assert.rejects(checked, { code: 'ERR_ABORTED' });
});
