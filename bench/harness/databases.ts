import { existsSync, readdirSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

/** Of {@link makeDatabase}: the rows `id % 997 = n` are what an increment changes. */
export const STRIDE = 997;

/** A database in WAL mode, checkpointed: rows of words and numbers, which compress by about a third. */
export function makeDatabase(path: string, megabytes: number): void {
  const db = new DatabaseSync(path);
  db.exec(`PRAGMA journal_mode = wal; PRAGMA synchronous = off;
    CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT, noise BLOB)`);
  const insert = db.prepare(`INSERT INTO item (body, noise)
    SELECT printf('item %d of %d, %s', value, ?, hex(randomblob(abs(random()) % 40))), randomblob(abs(random()) % 120)
    FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 20000) SELECT value FROM n)`);
  while (statSync(path).size < megabytes * 1e6) {
    insert.run(megabytes);
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  }
  db.close();
}

/** How many files of level 0 a folder replica holds. */
export function filesOfReplica(replica: string): number {
  const level = `${replica}/ltx/0`;
  return existsSync(level) ? readdirSync(level).filter((name) => name.endsWith('.ltx')).length : 0;
}
