import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { tempDir } from '../../test/support/temp-dir.ts';

const GUARDS = JSON.stringify(pathToFileURL(join(import.meta.dirname, 'guards.ts')).href);

const WAYS = {
  'a promise that nobody awaited': `Promise.reject(new Error('lost'))`,
  'an error event without a listener': `new (await import('node:events')).EventEmitter().emit('error', new Error('lost'))`,
  'an exception in a timer': `setTimeout(() => { throw new Error('lost') }, 1)`,
  'a broken stream': `new (await import('node:stream')).Readable({ read() {} }).destroy(new Error('lost'))`,
  'something that is no error': `Promise.reject('lost')`,
};

for (const [what, code] of Object.entries(WAYS)) {
  test(`NODE-10 ${what} ends the process at once, says why, and keeps the WAL`, (t) => {
    const folder = tempDir(t);
    const script = `
      import { DatabaseSync } from 'node:sqlite';
      import { writeSync } from 'node:fs';
      const { guardProcess } = await import(${GUARDS});
      guardProcess((text) => void writeSync(2, text));
      const database = new DatabaseSync('app.db');
      database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (v)');
      setTimeout(() => process.exit(0), 30_000);
      ${code};`;
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', script],
      { cwd: folder, encoding: 'utf8', timeout: 60_000 },
    );
    assert.equal(status, 1, stderr);
    assert.match(stderr, /^Error: unexpected error, ending: lost\n/);
    assert.equal(stdout, '');
    assert.ok(existsSync(join(folder, 'app.db-wal')));
  });
}
