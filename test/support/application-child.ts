/**
 * An application in a process of its own, driven by one JSON command a line on stdin, each answered by one line on stdout:
 * `node application-child.ts PATH`. `application-child.py` is the same with another SQLite build.
 */
import { randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { createInterface } from 'node:readline';

interface Command {
  readonly op: 'exec' | 'insert' | 'run' | 'pause' | 'hostile';
  readonly sql?: readonly string[];
  readonly rows?: number;
  readonly blob?: number;
  readonly seed?: number;
  readonly pauseMs?: number;
  readonly maxRows?: number;
}

const path = process.argv[2] ?? '';
let db = open(5_000);
/** Work to do between commands; undefined while paused. */
let turn: (() => void) | undefined;
let pauseMs = 0;
let random = mulberry(1);
const stats = { commits: 0, longestMs: 0, locked: 0, checkpoints: 0, errors: [] as string[] };

function open(timeout: number): DatabaseSync {
  const opened = new DatabaseSync(path, { timeout });
  opened.exec('PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = normal');
  return opened;
}

function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function int(max: number): number {
  return Math.floor(random() * max);
}

function insert(rows: number, blob: number): void {
  const statement = db.prepare('INSERT INTO t (v, b) VALUES (?, ?)');
  for (let row = 0; row < rows; row += 1) statement.run(`v${int(1000)}`, randomBytes(blob));
}

function transaction(body: () => void): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    body();
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

function note(error: unknown): void {
  const text = error instanceof Error ? error.message : String(error);
  if (/locked|busy/.test(text)) stats.locked += 1;
  else if (stats.errors.length < 10) stats.errors.push(text);
}

function writeOnce(maxRows: number): void {
  const started = performance.now();
  try {
    transaction(() => {
      const row = db
        .prepare('SELECT (SELECT min(id) FROM t) AS low, (SELECT max(id) FROM t) AS high')
        .get();
      const low = Number(row?.['low'] ?? 0);
      const high = Number(row?.['high'] ?? 0);
      const at = low + int(Math.max(1, high - low));
      if (high - low > maxRows) db.exec(`DELETE FROM t WHERE id < ${high - maxRows / 2}`);
      const kind = random();
      if (kind < 0.6) insert(1 + int(10), int(400));
      else if (kind < 0.9)
        db.exec(`UPDATE t SET v = 'u${int(1000)}' WHERE id BETWEEN ${at} AND ${at + int(10)}`);
      else db.exec(`DELETE FROM t WHERE id BETWEEN ${at} AND ${at + int(10)}`);
    });
    stats.commits += 1;
  } catch (error) {
    note(error);
  }
  stats.longestMs = Math.max(stats.longestMs, performance.now() - started);
}

/** A checkpoint of a random mode; now and then on a new connection. */
function checkpointOnce(): void {
  const mode = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'][int(4)] ?? 'PASSIVE';
  try {
    if (random() < 0.3) {
      db.close();
      // One that waits keeps the write lock meanwhile: rarely, or writers get no turn at all.
      db = open(random() < 0.1 ? 5 : 0);
    }
    db.prepare(`PRAGMA wal_checkpoint(${mode})`).all();
    stats.checkpoints += 1;
  } catch {
    // Locked: the next one.
  }
}

function loop(): void {
  if (turn === undefined) return;
  turn();
  if (pauseMs > 0) setTimeout(loop, pauseMs);
  else setImmediate(loop);
}

function begin(command: Command, work: () => void): void {
  random = mulberry(command.seed ?? 1);
  pauseMs = command.pauseMs ?? 0;
  const running = turn !== undefined;
  turn = work;
  if (!running) setImmediate(loop);
}

function answer(command: Command): unknown {
  switch (command.op) {
    case 'exec': {
      let rows: unknown[] = [];
      for (const sql of command.sql ?? []) rows = db.prepare(sql).all();
      return { rows };
    }
    case 'insert':
      transaction(() => insert(command.rows ?? 1, command.blob ?? 200));
      return {};
    case 'run':
      begin(command, () => writeOnce(command.maxRows ?? 100_000));
      return {};
    case 'hostile':
      begin(command, checkpointOnce);
      return {};
    case 'pause':
      turn = undefined;
      return stats;
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  let reply: unknown;
  try {
    reply = answer(JSON.parse(line) as Command);
  } catch (error) {
    reply = { error: error instanceof Error ? error.message : String(error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
});
// The connection closes as a crash would leave it unless the application closes it itself.
process.stdin.on('end', () => {
  turn = undefined;
  db.close();
});
