/** A follower is read by another process, with another SQLite, while it is updated, stopped and killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { contentOf, integrityOf } from '../support/app-database.ts';
import type { Application } from '../support/application.ts';
import { Daemon, OURS } from '../support/program.ts';
import { lastTxid } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { canBe, Scene } from './scene.ts';

const SCHEMA = [
  'CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, note BLOB)',
  'CREATE TABLE ledger (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, amount INTEGER)',
  `WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 200)
   INSERT INTO account SELECT n, 0, randomblob(300) FROM s`,
  'CREATE TABLE filler AS SELECT note FROM account',
];

interface Seen {
  readonly looks: number;
  readonly states: number;
  readonly checks: number;
  readonly longest: number;
  readonly errors: readonly string[];
}

/** Moves money between two accounts and notes it; one transaction. */
async function transfer(application: Application, n: number): Promise<void> {
  const [a, b, amount] = [1 + ((n * 7) % 200), 1 + ((n * 13 + 5) % 200), n % 50];
  await application.exec(
    'BEGIN IMMEDIATE',
    `UPDATE account SET balance = balance - ${amount} WHERE id = ${a}`,
    `UPDATE account SET balance = balance + ${amount}, note = randomblob(${200 + (n % 400)}) WHERE id = ${b}`,
    `INSERT INTO ledger (a, b, amount) VALUES (${a}, ${b}, ${amount})`,
    'COMMIT',
  );
}

function startReader(t: TestContext, path: string): () => Promise<Seen> {
  const child = spawn('python3', [join(import.meta.dirname, 'follow-reader.py'), path], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'close');
  let output = '';
  child.stdout.on('data', (piece: Buffer) => {
    output += piece.toString();
  });
  return async () => {
    child.stdin.end();
    await ended;
    return JSON.parse(output) as Seen;
  };
}

/** A source under replication, and the place of its follower. */
class Followed {
  readonly scene: Scene;
  readonly output: string;
  readonly #t: TestContext;

  constructor(t: TestContext) {
    this.#t = t;
    this.scene = new Scene(t);
    this.output = join(this.scene.folder, 'follower.db');
  }

  follow(): Daemon {
    const args = ['-follow-interval', '20ms', '-o', this.output, `file://${this.scene.replica}`];
    return new Daemon(this.#t, OURS, 'restore', '-f', ...args);
  }

  async caughtUp(): Promise<void> {
    const { replica } = this.scene;
    const wanted = (): string => `${lastTxid(replica).toString(16).padStart(16, '0')}\n`;
    const bookmark = `${this.output}-txid`;
    await waitFor(() => existsSync(bookmark) && readFileSync(bookmark, 'utf8') === wanted(), {
      what: 'the follower to catch up',
    });
  }

  equal(): void {
    assert.equal(integrityOf(this.output), 'ok');
    assert.equal(contentOf(this.output), contentOf(this.scene.database));
  }
}

test('readers in another process see every state whole while files are applied', async (t) => {
  if (!canBe(t, 'python')) return;
  const followed = new Followed(t);
  const { scene, output } = followed;
  const application = await scene.application({ before: SCHEMA });
  scene.start();
  await scene.converged();
  const follower = followed.follow();
  await followed.caughtUp();
  const stopReader = startReader(t, output);
  for (let n = 1; n <= 150; n += 1) {
    await transfer(application, n);
    if (n === 100) await application.exec('DROP TABLE filler', 'VACUUM');
    await sleep(10);
  }
  await scene.converged();
  await followed.caughtUp();
  // The connection that was open all the time must come to the last state too.
  await sleep(300);
  const seen = await stopReader();
  assert.deepEqual(seen.errors, []);
  assert.equal(seen.longest, 150);
  assert.ok(seen.states > 4 && seen.checks > 2, JSON.stringify(seen));
  await follower.stop('SIGINT');
  assert.match(follower.log, /follow mode stopped/);
  assert.doesNotMatch(follower.log, /level=(ERROR|WARN)/);
  followed.equal();
});

test('a follower that is killed again and again leaves whole states to its readers', async (t) => {
  if (!canBe(t, 'python')) return;
  const followed = new Followed(t);
  const { scene, output } = followed;
  const application = await scene.application({ before: SCHEMA });
  scene.start();
  await scene.converged();
  const first = followed.follow();
  await followed.caughtUp();
  await first.kill();
  const stopReader = startReader(t, output);
  let n = 0;
  for (let round = 0; round < 6; round += 1) {
    const follower = followed.follow();
    const writing = (async (): Promise<void> => {
      const end = n + 25;
      while (n < end) {
        n += 1;
        await transfer(application, n);
        await sleep(10);
      }
    })();
    await sleep(250 + round * 61);
    await follower.kill();
    await writing;
  }
  followed.follow();
  await scene.converged();
  await followed.caughtUp();
  await sleep(100);
  const seen = await stopReader();
  assert.deepEqual(seen.errors, []);
  assert.equal(seen.longest, n);
  followed.equal();
});

test('-json prints the summary after the end, and nothing else on standard output', async (t) => {
  const followed = new Followed(t);
  const { scene, output } = followed;
  await scene.application();
  scene.start();
  await scene.converged();
  const args = ['restore', '-f', '-json', '-o', output, `file://${scene.replica}`];
  const follower = new Daemon(t, { ...OURS, split: true }, ...args);
  await follower.line(/entering follow mode/);
  assert.equal(follower.stdout, '');
  await follower.stop();
  assert.match(follower.log, /follow mode stopped/);
  const printed = JSON.parse(follower.stdout) as Record<string, unknown>;
  const { duration_ms: durationMs, ...summary } = printed;
  assert.equal(typeof durationMs, 'number');
  assert.deepEqual(summary, {
    db_path: output,
    replica: 'file',
    txid: '',
    integrity_check: 'none',
  });
});

test('a database that was moved away ends the follower with an error', async (t) => {
  const followed = new Followed(t);
  await followed.scene.application();
  followed.scene.start();
  await followed.scene.converged();
  const follower = followed.follow();
  await waitFor(() => follower.log.includes('entering follow mode'), { what: 'follow mode' });
  renameSync(followed.output, `${followed.output}.moved`);
  await follower.ended();
  assert.equal(follower.status, 1);
  assert.match(follower.log, /followed database was removed/);
});
