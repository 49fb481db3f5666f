/** Databases that end before, at and behind the page that holds the byte at 1 GiB, which is never data. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, statSync, truncateSync, writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { lockPgno } from '../../src/lib/page.ts';
import { OURS, runProgram } from '../support/program.ts';
import { filesOf } from '../support/replica-folder.ts';
import { readLtxFacts } from '../support/ltx-facts.ts';
import { Scene } from './scene.ts';

const SLOW = process.env['SLOW'] === '1';
const PIECE = 1 << 20;
const PAGE_COUNT_AT = 28;

/** A database of so many pages, most of them zeros that take no space. */
function makeSparse(path: string, pageSize: number, pages: number): void {
  using database = new DatabaseSync(path);
  database.exec(`PRAGMA page_size = ${pageSize}; PRAGMA journal_mode = wal`);
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v, b)');
  database.close();
  truncateSync(path, pages * pageSize);
  const count = Buffer.alloc(4);
  count.writeUInt32BE(pages);
  const file = openSync(path, 'r+');
  writeSync(file, count, 0, count.length, PAGE_COUNT_AT);
  closeSync(file);
}

/** Numbers of the pages in which two files differ. */
function differentPages(one: string, other: string, pageSize: number): number[] {
  const { size } = statSync(one);
  assert.equal(statSync(other).size, size);
  const [a, b] = [openSync(one, 'r'), openSync(other, 'r')];
  const [left, right] = [Buffer.alloc(PIECE), Buffer.alloc(PIECE)];
  const different = new Set<number>();
  for (let at = 0; at < size; at += PIECE) {
    const length = readSync(a, left, 0, PIECE, at);
    assert.equal(readSync(b, right, 0, PIECE, at), length);
    if (left.compare(right, 0, length, 0, length) === 0) continue;
    for (let from = 0; from < length; from += pageSize) {
      const to = from + pageSize;
      if (left.compare(right, from, to, from, to) !== 0) different.add((at + from) / pageSize + 1);
    }
  }
  closeSync(a);
  closeSync(b);
  return [...different];
}

for (const pageSize of [512, 4096, 65536]) {
  const lock = lockPgno(pageSize);
  for (const pages of [lock - 3, lock - 1, lock + 1]) {
    const what = `${pages - lock} pages from the lock page, page size ${pageSize}`;
    const options = { skip: SLOW ? false : 'SLOW=1: writes 1 GiB' };
    test(`CAP-11 a database that ends ${what}, and grows by a few`, options, (t) => {
      const scene = new Scene(t);
      makeSparse(scene.database, pageSize, pages);
      using application = new DatabaseSync(scene.database);
      const once = (): void => {
        const { status, stderr } = runProgram(OURS, 'replicate', '-once', '-config', scene.config);
        assert.equal(status, 0, stderr);
      };
      for (let n = 0; n < 4; n += 1) {
        application.exec(`INSERT INTO t (b) VALUES (randomblob(${2 * pageSize}))`);
        once();
      }
      const files = [0, 1, 9].flatMap((level) => filesOf(scene.replica, level));
      assert.ok(files.length >= 4);
      const output = scene.restore();
      assert.ok(output !== undefined);
      application.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      const { commit } = readLtxFacts(files[3]?.path ?? '');
      assert.ok(commit > lock, `${commit} pages`);
      const different = differentPages(scene.database, output, pageSize);
      assert.deepEqual(
        different.filter((pgno) => pgno !== lock),
        [],
      );
    });
  }
}
