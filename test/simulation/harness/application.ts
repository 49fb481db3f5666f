import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { History } from './history.ts';
import type { Interference } from './interference.ts';
import type { Random } from './random.ts';
import type { Tally } from './tally.ts';
import { Violation } from './violation.ts';

export const CHECKPOINT_MODES = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const;
export type CheckpointMode = (typeof CHECKPOINT_MODES)[number];

const PAGE_SIZES = [512, 1024, 4096] as const;
const READERS_MAX = 3;
/** Pages of the database beyond which nothing is inserted any more. */
const PAGES_MAX = 160;

export interface ApplicationOptions {
  readonly path: string;
  readonly random: Random;
  readonly history: History;
  readonly interference: Interference;
  readonly tally: Tally;
  readonly pageSize: number;
  readonly autoVacuum: number;
  /** Frames; 0 = never. */
  readonly autoCheckpoint: number;
  readonly pageSizeChanges: boolean;
}

/** The application: several connections that write, read and checkpoint, and know what was committed. */
export class Application {
  readonly #o: ApplicationOptions;
  #main: DatabaseSync | undefined;
  #other: DatabaseSync | undefined;
  #observer: DatabaseSync | undefined;
  #dataVersion: StatementSync | undefined;
  #seenVersion: unknown;
  readonly #statements = new WeakMap<DatabaseSync, Map<string, StatementSync>>();
  #readers: DatabaseSync[] = [];
  #tables = 0;
  #saved: Uint8Array | undefined;
  /** Commits refused because the engine held the write lock for a moment. */
  busy = 0;
  commits = 0;

  constructor(options: ApplicationOptions) {
    this.#o = options;
    this.create();
  }

  get open(): boolean {
    return this.#main !== undefined;
  }

  /** A transaction of the second connection is under way. */
  get writing(): boolean {
    return this.#other?.isTransaction === true;
  }

  get readers(): number {
    return this.#readers.length;
  }

  get exists(): boolean {
    return existsSync(this.#o.path);
  }

  pageSize(): number {
    return Number(this.#value('PRAGMA page_size'));
  }

  /** Makes the database and opens it. */
  create(): void {
    const { path, pageSize, autoVacuum } = this.#o;
    const db = new DatabaseSync(path, { timeout: 0 });
    db.exec(`PRAGMA page_size = ${pageSize}; PRAGMA auto_vacuum = ${autoVacuum}`);
    db.exec('PRAGMA journal_mode = wal');
    db.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT, b BLOB)');
    db.close();
    this.connect();
  }

  connect(): void {
    this.#o.tally.add('connect');
    const open = (): DatabaseSync => {
      const db = new DatabaseSync(this.#o.path, { timeout: 0 });
      db.exec(`PRAGMA journal_mode = wal; PRAGMA synchronous = OFF`);
      db.exec(`PRAGMA wal_autocheckpoint = ${this.#o.autoCheckpoint}`);
      return db;
    };
    this.#main = open();
    this.#other = open();
    this.#other.exec('PRAGMA cache_size = 4');
    this.#observer = open();
    this.#dataVersion = this.#observer.prepare('PRAGMA data_version');
    this.#seenVersion = undefined;
    this.observe();
  }

  /** Notes the committed state. SQLite knows whether others have committed since the observer looked last. */
  observe(): void {
    if (this.#observer === undefined) return;
    const version = this.#dataVersion?.get()?.['data_version'];
    if (version === this.#seenVersion) return;
    this.#seenVersion = version;
    this.#o.history.note(this.#observer.serialize());
  }

  /** The same without an open connection; the engine must have one, or the WAL's fate would change. */
  observeClosed(): void {
    if (this.#observer !== undefined || !this.exists) return;
    const db = new DatabaseSync(this.#o.path, { timeout: 0, readOnly: true });
    this.#o.history.note(db.serialize());
    db.close();
  }

  disconnect(): void {
    if (this.#main !== undefined) this.#o.tally.add('disconnect');
    for (const reader of this.#readers) reader.close();
    this.#readers = [];
    for (const db of [this.#observer, this.#other, this.#main]) db?.close();
    this.#main = this.#other = this.#observer = undefined;
  }

  /** One transaction of the first connection. */
  transact(): void {
    if (this.#main === undefined || this.writing) return;
    const { random } = this.#o;
    const db = this.#main;
    this.#attempt('transaction', db, () => {
      db.exec('BEGIN IMMEDIATE');
      const steps = random.weighted([
        [5, 1],
        [3, 3],
        [1, 12],
      ] as const);
      for (let step = 0; step < steps; step++) this.#change(db);
      db.exec(random.chance(0.06) ? 'ROLLBACK' : 'COMMIT');
    });
  }

  /** Begins a transaction that spills into the WAL, and leaves it open. */
  beginLarge(): void {
    if (this.#other === undefined || this.writing) return;
    const db = this.#other;
    this.#attempt('large transaction begun', db, () => {
      db.exec('BEGIN IMMEDIATE');
      this.#spill(db);
    });
  }

  /** More of the large transaction. */
  continueLarge(): void {
    const db = this.#other;
    if (db === undefined || !this.writing) return;
    this.#attempt('large transaction grown', db, () => this.#spill(db));
  }

  endLarge(): void {
    const db = this.#other;
    if (db === undefined || !this.writing) return;
    this.#attempt('large transaction ended', db, () => {
      if (this.#o.random.chance(0.3)) db.exec('SAVEPOINT s; DELETE FROM t; ROLLBACK TO s');
      db.exec(this.#o.random.chance(0.5) ? 'COMMIT' : 'ROLLBACK');
    });
  }

  vacuum(): void {
    if (this.#main === undefined || this.writing) return;
    const db = this.#main;
    const sql = this.#o.random.pick(['VACUUM', 'PRAGMA incremental_vacuum(3)']);
    this.#attempt('vacuum', db, () => db.exec(sql));
  }

  checkpoint(mode: CheckpointMode): void {
    if (this.#main === undefined) return;
    const db = this.#main;
    this.#attempt('checkpoint', db, () => {
      db.prepare(`PRAGMA wal_checkpoint(${mode})`).all();
    });
  }

  openReader(): void {
    if (this.#main === undefined || this.#readers.length >= READERS_MAX) return;
    const db = new DatabaseSync(this.#o.path, { timeout: 0, readOnly: this.#o.random.chance(0.5) });
    this.#readers.push(db);
    this.#attempt('read transaction begun', db, () => {
      db.exec('BEGIN');
      db.prepare('SELECT count(*) FROM t').all();
    });
  }

  closeReader(): void {
    const { random } = this.#o;
    if (this.#readers.length === 0) return;
    this.#o.tally.add('read transaction ended');
    const [reader] = this.#readers.splice(random.below(this.#readers.length), 1);
    reader?.close();
  }

  /** Keeps a copy of the present state, to be put in the database's place one day. */
  save(): void {
    this.#saved = this.#observer?.serialize();
  }

  /** Another file takes the database's name. Every connection is closed. */
  replace(): void {
    if (this.#main !== undefined) return;
    this.#o.tally.add('replaced');
    const { path, random } = this.#o;
    const fresh = this.#saved === undefined || random.chance(0.3);
    if (!fresh && this.#saved !== undefined) {
      writeFileSync(`${path}.new`, this.#saved);
      renameSync(`${path}.new`, path);
    } else {
      rmSync(path);
    }
    for (const suffix of ['-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
    if (fresh) this.create();
    else this.connect();
  }

  /** Another page size, or rollback journal for a while. The engine is down, no connection is open. */
  rebuild(): void {
    if (this.#main !== undefined) return;
    this.#o.tally.add('rebuilt');
    const { path, random } = this.#o;
    const db = new DatabaseSync(path, { timeout: 0 });
    db.exec('PRAGMA journal_mode = delete');
    if (this.#o.pageSizeChanges && random.chance(0.6))
      db.exec(`PRAGMA page_size = ${random.pick(PAGE_SIZES)}; VACUUM`);
    if (random.chance(0.5)) db.exec("INSERT INTO t (v) VALUES ('rollback journal')");
    if (random.chance(0.7)) db.exec('PRAGMA journal_mode = wal');
    this.#o.history.note(db.serialize());
    db.close();
    if (random.chance(0.7)) this.connect();
  }

  integrity(): string {
    return String(this.#value('PRAGMA integrity_check'));
  }

  journalMode(): string {
    return String(this.#value('PRAGMA journal_mode'));
  }

  #value(sql: string): unknown {
    const row = this.#observer?.prepare(sql).get();
    return row === undefined ? undefined : Object.values(row)[0];
  }

  /** Runs statements as another process would; a lock of the engine's is an error only when the engine is not at work. */
  #attempt(what: string, db: DatabaseSync, body: () => void): void {
    this.#o.tally.add(what);
    const before = this.#observer?.isTransaction;
    try {
      body();
      this.commits++;
    } catch (error) {
      const locked = error instanceof Error && /locked|busy/.test(error.message);
      if (!locked || !this.#o.interference.inEngine) {
        throw new Violation(`the application failed: ${String(error)}`, { cause: error });
      }
      this.busy++;
      if (db.isTransaction) db.exec('ROLLBACK');
    }
    if (before !== undefined) this.observe();
  }

  #change(db: DatabaseSync): void {
    const { random } = this.#o;
    const large = Number(this.#prepare(db, 'PRAGMA page_count').get()?.['page_count']) > PAGES_MAX;
    // Free pages are used again: a large database without rows would never change any more.
    const full = large && this.#prepare(db, 'SELECT 1 FROM t LIMIT 1').get() !== undefined;
    const change = random.weighted([
      [full ? 0 : 6, 'insert'],
      [5, 'update'],
      [full ? 9 : 3, 'delete'],
      [full ? 0 : 1, 'bulk'],
      [0.5, 'schema'],
      [full ? 5 : 0.3, 'drop'],
    ] as const);
    const size = random.weighted([
      [6, 40],
      [3, 700],
      [1, 9000],
    ] as const);
    switch (change) {
      case 'insert':
        this.#prepare(db, 'INSERT INTO t (v, b) VALUES (?, ?)').run('x', random.bytes(size));
        return;
      case 'update': {
        const sql = 'UPDATE t SET b = ? WHERE id % 7 = ?';
        this.#prepare(db, sql).run(random.bytes(Math.min(size, 700)), random.below(7));
        return;
      }
      case 'delete':
        this.#prepare(db, 'DELETE FROM t WHERE id % 5 = ?').run(random.below(5));
        return;
      case 'bulk':
        this.#fill(db, random.between(5, 40));
        return;
      case 'schema': {
        const n = this.#tables++;
        db.exec(`CREATE TABLE s${n} (a PRIMARY KEY, b); INSERT INTO s${n} SELECT id, v FROM t`);
        return;
      }
      case 'drop':
        db.exec(`DROP TABLE IF EXISTS s${Math.max(0, this.#tables - 1)}`);
        if (full) db.exec('DELETE FROM t WHERE id % 2 = 0');
    }
  }

  /** Statements are compiled once per connection. */
  #prepare(db: DatabaseSync, sql: string): StatementSync {
    let statements = this.#statements.get(db);
    if (statements === undefined) {
      statements = new Map();
      this.#statements.set(db, statements);
    }
    let statement = statements.get(sql);
    if (statement === undefined) {
      statement = db.prepare(sql);
      statements.set(sql, statement);
    }
    return statement;
  }

  #fill(db: DatabaseSync, rows: number): void {
    const insert = this.#prepare(db, 'INSERT INTO t (v, b) VALUES (?, ?)');
    for (let row = 0; row < rows; row++) insert.run('y', this.#o.random.bytes(300));
  }

  #spill(db: DatabaseSync): void {
    this.#prepare(db, 'UPDATE t SET v = ?').run(String(this.#o.random.below(1e6)));
    this.#fill(db, this.#o.random.between(3, 20));
    if (this.#o.random.chance(0.3)) db.exec('DELETE FROM t WHERE id % 3 = 0');
  }
}
