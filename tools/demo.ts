/**
 * `npm run demo`: the whole story in half a minute, with real processes in a temporary folder. A writer commits as an application
 * would, litestream replicates to a folder, everything is killed without warning, the database files are deleted, the replica is
 * restored, and the result is compared row by row with what had been acknowledged to the writer.
 *
 * The promise that is checked: at some moment the last acknowledged order is X. As soon as the replica holds X (a restore proves
 * it) the plug is pulled. After the restore every order up to X is there, unchanged; what follows X is a whole number of
 * transactions without a gap. Orders that were acknowledged in the last instant, after the last upload, are gone with the machine:
 * replication is asynchronous, and the demo says how many there were.
 *
 * `LITESTREAM_BIN` runs another program in place of this checkout's.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const LITESTREAM =
  process.env['LITESTREAM_BIN'] ?? join(dirname(import.meta.dirname), 'bin/litestream');
const RUN_MS = 8_000;
const REPLICATED_MS_MAX = 12_000;
const COMMITS_PER_TURN = 2;

/** The content of an order follows from its number, so that the comparison needs no copy of the data. */
function order(id: number): { item: string; amount: number } {
  const digest = createHash('sha256').update(`order ${id}`).digest();
  return { item: digest.toString('hex'), amount: digest.readUInt16BE(0) };
}

/** The application: one order and the new total in each transaction, acknowledged on stdout once it is committed. */
async function write(path: string): Promise<void> {
  const db = new DatabaseSync(path, { timeout: 5_000 });
  db.exec('PRAGMA journal_mode = wal; PRAGMA synchronous = normal');
  db.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, amount INTEGER)');
  db.exec('CREATE TABLE total (amount INTEGER); INSERT INTO total VALUES (0)');
  const insert = db.prepare('INSERT INTO orders VALUES (?, ?, ?)');
  const add = db.prepare('UPDATE total SET amount = amount + ?');
  for (let id = 1; ; id += 1) {
    const { item, amount } = order(id);
    db.exec('BEGIN IMMEDIATE');
    insert.run(id, item, amount);
    add.run(amount);
    db.exec('COMMIT');
    // An acknowledgement that waits in this process would die with it: the next order begins when the pipe has taken it.
    await new Promise((resolve) => {
      process.stdout.write(`${id}\n`, resolve);
    });
    if (id % COMMITS_PER_TURN === 0) await sleep(1);
  }
}

const say = (text = ''): boolean => process.stdout.write(`${text}\n`);
const count = (value: number): string => value.toLocaleString('en-US');
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

interface Replica {
  readonly files: number;
  readonly bytes: number;
  /** 16 hex digits of the newest transaction. */
  readonly txid: string;
  /** When the newest transaction arrived; milliseconds since the epoch. */
  readonly newestAt: number;
}

/** What lies in the replica folder now. */
function look(folder: string): Replica {
  let names: string[];
  try {
    names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  } catch {
    names = [];
  }
  let replica: Replica = { files: 0, bytes: 0, txid: '0'.repeat(16), newestAt: 0 };
  for (const name of names) {
    const txid = /-([0-9a-f]{16})\.ltx$/.exec(name)?.[1];
    const stat = statSync(join(folder, name), { throwIfNoEntry: false });
    if (txid === undefined || stat === undefined) continue;
    const newer = txid > replica.txid;
    replica = {
      files: replica.files + 1,
      bytes: replica.bytes + stat.size,
      txid: newer ? txid : replica.txid,
      newestAt: newer ? stat.ctimeMs : replica.newestAt,
    };
  }
  return replica;
}

interface Stage {
  readonly folder: string;
  readonly database: string;
  readonly replica: string;
  readonly log: string;
}

/** Writer and daemon while they run. */
class Show {
  readonly stage: Stage;
  readonly writer: ChildProcess;
  readonly daemon: ChildProcess;
  readonly #started = performance.now();
  acknowledged = 0;

  constructor(stage: Stage) {
    this.stage = stage;
    this.writer = spawn(process.execPath, [import.meta.filename, '--writer', stage.database], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (this.writer.stdout === null) throw new Error('the writer has no output');
    createInterface(this.writer.stdout).on('line', (line) => {
      this.acknowledged = Number(line);
    });
    const log = openSync(stage.log, 'w');
    this.daemon = spawn(LITESTREAM, ['replicate', stage.database, `file://${stage.replica}`], {
      stdio: ['ignore', log, log],
      detached: true,
    });
    this.daemon.once('error', ({ message }) => {
      say(message);
    });
  }

  /** One line about now. Throws if one of the two has ended. */
  report(): void {
    this.assertRunning();
    const { txid, newestAt, bytes, files } = look(this.stage.replica);
    const lag = newestAt === 0 ? 'nothing yet' : seconds(Math.max(0, Date.now() - newestAt));
    say(
      [
        seconds(performance.now() - this.#started).padStart(7),
        count(this.acknowledged).padStart(9),
        txid,
        lag.padStart(11),
        `${(bytes / 1024).toFixed(0)} KB in ${files} files`.padStart(20),
      ].join('  '),
    );
  }

  assertRunning(): void {
    for (const [name, child] of [
      ['writer', this.writer],
      ['litestream', this.daemon],
    ] as const) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${name} has ended`);
    }
  }

  /** What a power cut leaves behind. */
  kill(): Promise<void[]> {
    const gone = [this.writer, this.daemon].map(
      (child) =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) resolve();
          else child.once('close', () => resolve());
          // The daemon leads a process group, in case the program is a script around another one.
          if (child.pid !== undefined) killQuietly(child === this.daemon ? -child.pid : child.pid);
        }),
    );
    return Promise.all(gone);
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

/** Restores the replica to `output`; the milliseconds it took, or undefined if there is nothing to restore. */
async function restore(stage: Stage, output: string): Promise<number | undefined> {
  const started = performance.now();
  const args = ['restore', '-o', output, `file://${stage.replica}`];
  const said = await new Promise<string | undefined>((resolve) => {
    execFile(LITESTREAM, args, { encoding: 'utf8' }, (error, stdout, stderr) => {
      resolve(error === null ? undefined : stdout + stderr);
    });
  });
  if (said === undefined) return performance.now() - started;
  say(`  restore: ${said.trim()}`);
  return undefined;
}

/** Highest order in a restored copy; 0 if there is none. */
function lastOrder(path: string): number {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return Number(db.prepare('SELECT max(id) AS id FROM orders').get()?.['id'] ?? 0);
  } finally {
    db.close();
  }
}

/** Waits until a restore of the replica contains order `id`. */
async function untilReplicated(show: Show, id: number): Promise<void> {
  const end = performance.now() + REPLICATED_MS_MAX;
  for (let attempt = 1; performance.now() < end; attempt += 1) {
    const copy = join(show.stage.folder, `probe-${attempt}.db`);
    if ((await restore(show.stage, copy)) !== undefined && lastOrder(copy) >= id) return;
    await sleep(200);
    show.report();
  }
  throw new Error(
    `order ${count(id)} did not reach the replica within ${seconds(REPLICATED_MS_MAX)}`,
  );
}

/** Compares the restored database with what was acknowledged. The first difference in words, or the number of orders. */
function compare(path: string, promised: number, written: number): number | string {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    const check = db.prepare('PRAGMA integrity_check').get()?.['integrity_check'];
    if (check !== 'ok') return `integrity check: ${String(check)}`;
    let last = 0;
    let total = 0;
    for (const row of db.prepare('SELECT id, item, amount FROM orders ORDER BY id').iterate()) {
      const id = Number(row['id']);
      const { item, amount } = order(id);
      if (id !== last + 1) return `order ${last + 1} is missing`;
      if (row['item'] !== item || row['amount'] !== amount) return `order ${id} differs`;
      last = id;
      total += amount;
    }
    const stored = Number(db.prepare('SELECT amount FROM total').get()?.['amount']);
    if (stored !== total)
      return `half a transaction: the total is ${stored}, the orders add up to ${total}`;
    if (last < promised)
      return `order ${promised} was replicated before the kill; the last one here is ${last}`;
    // One commit may have been under way, not yet acknowledged, when the writer died.
    if (last > written + 1) return `order ${last} was never written`;
    return last;
  } finally {
    db.close();
  }
}

async function perform(show: Show): Promise<boolean> {
  const { stage } = show;
  say('   time  committed  replicated TXID       lag                  replica');
  for (let at = 0; at < RUN_MS / 1000; at += 1) {
    await sleep(1000);
    show.report();
  }
  const promised = show.acknowledged;
  say(
    `\norder ${count(promised)} is committed; waiting until the replica holds it, while writing goes on`,
  );
  await untilReplicated(show, promised);
  show.assertRunning();
  await show.kill();
  const written = show.acknowledged;
  say('it does. SIGKILL to litestream and to the writer, and the database is deleted');
  for (const suffix of ['', '-wal', '-shm']) rmSync(stage.database + suffix, { force: true });
  rmSync(join(stage.folder, '.app.db-litestream'), { recursive: true, force: true });

  const took = await restore(stage, stage.database);
  if (took === undefined) return false;
  say(`\nrestored in ${took.toFixed(0)} ms (${count(statSync(stage.database).size >> 10)} KB)`);
  const result = compare(stage.database, promised, written);
  if (typeof result === 'string') {
    say(`NOT EQUAL: ${result}`);
    return false;
  }
  const after = Math.max(0, written - result);
  say(`EQUAL: all ${count(result)} orders compared, each as it was committed, none half done`);
  say(`       promised were the ${count(promised)} that were replicated when the plug was pulled;`);
  say(`       of those committed later the last ${count(after)} had not been uploaded yet`);
  return true;
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-demo-'));
  const stage: Stage = {
    folder,
    database: join(folder, 'app.db'),
    replica: join(folder, 'replica'),
    log: join(folder, 'litestream.log'),
  };
  const show = new Show(stage);
  const leave = (): void => {
    for (const child of [show.writer, show.daemon])
      if (child.pid !== undefined) killQuietly(child === show.daemon ? -child.pid : child.pid);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  process.once('SIGINT', () => {
    leave();
    process.exit(130);
  });
  try {
    if (!(await perform(show))) process.exitCode = 1;
  } catch (error) {
    say(`failed: ${error instanceof Error ? error.message : String(error)}`);
    say(
      `the log of litestream ends with:\n${readFileSync(stage.log, 'utf8').split('\n').slice(-15).join('\n')}`,
    );
    process.exitCode = 1;
  } finally {
    await show.kill();
    leave();
  }
}

const { values } = parseArgs({ options: { writer: { type: 'string' } } });
if (values.writer === undefined) await main();
else await write(values.writer);
