import { createHash, randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { DatabaseSync } from 'node:sqlite';

export interface AppDatabaseOptions {
  readonly pageSize?: number;
  readonly rows?: number;
}

/** An application's connection to its own database: WAL mode, no automatic checkpoint, busy timeout 5 s; table t(id, v, b). */
export class AppDatabase {
  readonly path: string;
  readonly #db: DatabaseSync;

  /** Opens the database; makes it if it is not there. */
  constructor(
    t: TestContext,
    path: string,
    { pageSize = 4096, rows = 50 }: AppDatabaseOptions = {},
  ) {
    this.path = path;
    this.#db = new DatabaseSync(path, { timeout: 5_000 });
    this.#db.exec(`PRAGMA page_size = ${pageSize}`);
    this.#db.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0');
    const made = this.#db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 't'").get();
    if (made?.['n'] === 0) {
      this.#db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, b BLOB)');
      this.insert(rows);
    }
    t.after(() => {
      this.close();
    });
  }

  exec(sql: string): void {
    this.#db.exec(sql);
  }

  /** One transaction that adds rows with random content. */
  insert(rows = 1, blobSize = 200): void {
    const statement = this.#db.prepare('INSERT INTO t (v, b) VALUES (?, ?)');
    this.#db.exec('BEGIN IMMEDIATE');
    for (let row = 0; row < rows; row += 1) statement.run('x', randomBytes(blobSize));
    this.#db.exec('COMMIT');
  }

  /** Bytes of the WAL file. */
  walBytes(): number {
    return statSync(`${this.path}-wal`).size;
  }

  /** Moves the whole WAL into the database. */
  checkpoint(mode: 'PASSIVE' | 'FULL' | 'RESTART' | 'TRUNCATE'): void {
    this.#db.prepare(`PRAGMA wal_checkpoint(${mode})`).all();
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }
}

/** Digest of every row of every table: equal for logically equal databases. Bookkeeping tables of the reference are left out. */
export function contentOf(path: string): string {
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    const digest = createHash('sha256');
    const tables = db
      .prepare(
        `SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type <> 'view'
           AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name NOT LIKE '~_litestream%' ESCAPE '~' ORDER BY name`,
      )
      .all();
    for (const { name, wr } of tables) {
      digest.update(`table ${String(name)}\n`);
      // A table without rowids comes in the order of its primary key.
      const rows =
        wr === 1 ? `* FROM "${String(name)}"` : `rowid, * FROM "${String(name)}" ORDER BY rowid`;
      for (const row of db.prepare(`SELECT ${rows}`).iterate())
        digest.update(
          JSON.stringify(row, (_key, value: unknown) =>
            value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
          ),
        );
    }
    return digest.digest('hex');
  } finally {
    db.close();
  }
}

/** `ok`, or what SQLite's integrity check found. */
export function integrityOf(path: string): string {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return String(db.prepare('PRAGMA integrity_check').get()?.['integrity_check']);
  } finally {
    db.close();
  }
}
