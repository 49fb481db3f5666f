/**
 * `npm run hammer -- --minutes M [--seed N] [--faults] [--gentle] [--keep]`: the real program under the worst company. Two applications with different
 * SQLite builds write at changing speed, a third process checkpoints in every mode every few milliseconds, the daemon is killed or
 * stopped every few seconds. With `--faults` the store goes away, disks fill up and the clock is set (as root, with libfaketime);
 * with `--gentle` the writers leave the machine some time. After each round the writers pause and the restored database must equal the one in use.
 *
 * The last line is `passed` or `FAILED: …`; the exit status is 0 or 1. After a failure the folder stays.
 */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { contentOf, integrityOf } from '../test/support/app-database.ts';
import { Application, hasPython, type WriterStats } from '../test/support/application.ts';
import { runProgram, OURS } from '../test/support/program.ts';
import { filesOf, lastTxid } from '../test/support/replica-folder.ts';
import { Life } from './hammer/daemon.ts';
import { Figures } from './hammer/figures.ts';
import { Weather } from './hammer/weather.ts';

const ROWS_MAX = 200_000;
const REPLICA_BYTES_MAX = 800 << 20;
const CONVERGE_MS_MAX = 90_000;
const WRITER_PAUSES_MS: readonly number[] = [0, 0, 1, 5, 20];

/** Uniform in [0, 1), from a seed: mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface HammerOptions {
  readonly seed: number;
  readonly faults: boolean;
  readonly gentle: boolean;
}

class Hammer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'litestream-hammer-'));
  readonly #database = join(this.#folder, 'app.db');
  readonly #replica = join(this.#folder, 'store/replica');
  readonly #meta = join(this.#folder, 'meta');
  readonly #config = join(this.#folder, 'litestream.yml');
  readonly #writers: Application[] = [];
  readonly #random: () => number;
  readonly figures: Figures = new Figures();
  readonly #gentle: boolean;
  readonly #weather: Weather | undefined;
  #hostile: Application | undefined;
  #life: Life | undefined;
  #rounds = 0;
  /** When the present daemon was started. */
  #startedAt = 0;

  constructor({ faults, gentle, seed }: HammerOptions) {
    this.#random = randomFrom(seed);
    this.#gentle = gentle;
    if (!faults) return;
    this.#weather = new Weather({
      folder: this.#folder,
      replica: this.#replica,
      meta: this.#meta,
      random: this.#random,
    });
  }

  /** What befell the daemon. */
  get weather(): string {
    return this.#weather?.table ?? 'no faults';
  }

  async run(endsAt: number): Promise<void> {
    await this.#begin();
    while (performance.now() < endsAt) {
      await this.#round(endsAt);
      if (replicaBytes(this.#replica) > REPLICA_BYTES_MAX) await this.#newReplica();
    }
    await this.#endLife('SIGTERM');
    this.#compare(contentOf(this.#database), 'after the last stop');
  }

  async end(keep: boolean): Promise<void> {
    const processes = [...this.#writers, this.#hostile];
    for (const application of processes) await application?.kill();
    if (this.#life?.running === true) await this.#life.end('SIGKILL');
    this.#weather?.end();
    if (keep) process.stdout.write(`kept: ${this.#folder}\n`);
    else rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async #begin(): Promise<void> {
    writeFileSync(
      this.#config,
      `levels:
  - interval: 5s
  - interval: 1m
l0-retention: 20s
l0-retention-check-interval: 5s
snapshot: { interval: 2m, retention: 5m }
dbs:
  - path: ${this.#database}
    meta-path: ${this.#meta}
    replica: { path: ${this.#replica} }
`,
    );
    const first = new Application(this.#database, 'node');
    await first.exec(
      'PRAGMA journal_mode = wal',
      'CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, b BLOB)',
      'CREATE INDEX i ON t (v)',
    );
    this.#writers.push(first, new Application(this.#database, hasPython() ? 'python' : 'node'));
    this.#hostile = new Application(this.#database, 'node');
    this.#startLife();
  }

  async #round(endsAt: number): Promise<void> {
    this.#rounds += 1;
    const until = Math.min(endsAt, performance.now() + 8_000 + this.#random() * 20_000);
    await this.#write();
    await this.#trouble(until);
    this.#weather?.clear();
    const paused = await Promise.all(this.#writers.map((writer) => writer.pause()));
    this.figures.writers = paused;
    this.#checkWriters(paused);
    if (this.#random() < 0.3) await this.#writers[0]?.exec('VACUUM');
    await this.#converge();
    const hostile = await this.#hostile?.pause();
    this.figures.checkpoints = hostile?.checkpoints ?? 0;
    process.stdout.write(`${this.figures.roundLine(this.#rounds)}\n`);
  }

  /** Everybody begins to write and to checkpoint. */
  async #write(): Promise<void> {
    await this.#hostile?.hostile({
      seed: this.#rounds,
      pauseMs: 2 + Math.floor(this.#random() * 5),
    });
    for (const [index, writer] of this.#writers.entries()) {
      const pauseMs = WRITER_PAUSES_MS[Math.floor(this.#random() * WRITER_PAUSES_MS.length)] ?? 0;
      await writer.run({
        seed: this.#rounds * 10 + index,
        pauseMs: this.#gentle ? 10 + pauseMs : pauseMs,
        maxRows: this.#gentle ? ROWS_MAX / 20 : ROWS_MAX,
      });
    }
  }

  /** The daemon dies or ends now and then, and worse, until the time is over. */
  async #trouble(until: number): Promise<void> {
    let nextChange = performance.now() + this.#random() * 5_000;
    let nextKill = performance.now() + 2_000 + this.#random() * 18_000;
    while (performance.now() < until) {
      await sleep(100);
      this.#sample();
      if (performance.now() > nextChange) {
        this.#weather?.change();
        nextChange = performance.now() + 1_000 + this.#random() * 5_000;
      }
      if (performance.now() < nextKill) continue;
      await this.#endLife(this.#random() < 0.8 ? 'SIGKILL' : 'SIGTERM');
      if (this.#random() < 0.5) await sleep(this.#random() * 1_000);
      this.#startLife();
      nextKill = performance.now() + 2_000 + this.#random() * 18_000;
    }
  }

  #checkWriters(paused: readonly WriterStats[]): void {
    const errors = paused.flatMap((stats) => stats.errors);
    if (errors.length > 0) throw new Error(`a writer failed: ${errors.join('; ')}`);
  }

  /** Nobody writes; checkpoints go on. */
  async #converge(): Promise<void> {
    const wanted = contentOf(this.#database);
    const until = performance.now() + CONVERGE_MS_MAX;
    for (;;) {
      const txid = lastTxid(this.#replica);
      await sleep(1_500);
      this.#sample();
      if (txid !== lastTxid(this.#replica) && performance.now() < until) continue;
      try {
        this.#compare(wanted, `in round ${this.#rounds}`);
        return;
      } catch (error) {
        if (performance.now() > until) throw error;
      }
    }
  }

  #compare(wanted: string, when: string): void {
    const output = join(this.#folder, 'restored.db');
    for (const suffix of ['', '-wal', '-shm']) rmSync(output + suffix, { force: true });
    const done = runProgram(OURS, 'restore', '-o', output, `file://${this.#replica}`);
    if (done.status !== 0) throw new Error(`cannot restore ${when}: ${done.stderr}`);
    const source = integrityOf(this.#database);
    if (source !== 'ok') throw new Error(`the database in use is damaged ${when}: ${source}`);
    const integrity = integrityOf(output);
    if (integrity !== 'ok')
      throw new Error(`the restored database is damaged ${when}: ${integrity}`);
    if (contentOf(output) !== wanted) throw new Error(`the restored database differs ${when}`);
    this.figures.comparisons += 1;
  }

  #startLife(): void {
    this.figures.starts += 1;
    this.#startedAt = performance.now();
    this.#life = new Life({
      config: this.#config,
      logPath: join(this.#folder, 'log'),
      metaFolder: this.#meta,
      environment: this.#weather?.environment ?? {},
    });
  }

  async #endLife(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const report = await this.#life?.end(signal);
    if (report !== undefined) this.figures.note(report, signal);
    if (report?.failure !== undefined) throw new Error(report.failure);
  }

  /** Starts a new history, so that the disk does not fill. */
  async #newReplica(): Promise<void> {
    await this.#endLife('SIGTERM');
    this.figures.txids += lastTxid(this.#replica);
    rmSync(this.#replica, { recursive: true });
    rmSync(join(this.#meta, 'ltx'), { recursive: true });
    this.#startLife();
  }

  #sample(): void {
    const wal = statSync(`${this.#database}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    const size = statSync(this.#database).size;
    const upMs = performance.now() - this.#startedAt;
    this.figures.sample({
      wal,
      size,
      upMs,
      txid: lastTxid(this.#replica),
      ...this.#life?.vitals(),
    });
  }
}

function replicaBytes(replica: string): number {
  let levels: string[] = [];
  try {
    levels = readdirSync(join(replica, 'ltx'));
  } catch {
    // Not there yet.
  }
  return levels
    .flatMap((level) => filesOf(replica, Number(level)))
    .reduce((sum, { size }) => sum + size, 0);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      faults: { type: 'boolean', default: false },
      gentle: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
    },
  });
  process.stdout.write(`seed ${values.seed}\n`);
  const { faults, gentle } = values;
  const hammer = new Hammer({ faults, gentle, seed: Number(values.seed) });
  let failure: string | undefined;
  try {
    await hammer.run(performance.now() + Number(values.minutes) * 60_000);
    failure = hammer.figures.failure();
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
  }
  await hammer.end(values.keep || failure !== undefined);
  process.stdout.write(`\n${hammer.figures.table()}\n${hammer.weather}\n`);
  process.stdout.write(failure === undefined ? 'passed\n' : `FAILED: ${failure}\n`);
  process.exitCode = failure === undefined ? 0 : 1;
}

await main();
