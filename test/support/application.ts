import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';

/** Which SQLite the application brings along: that of Node.js, or the one of the system's Python. */
export type ApplicationKind = 'node' | 'python';

/** What the free-running writes came to since the process started. */
export interface WriterStats {
  readonly commits: number;
  /** Longest transaction, waiting for locks included. */
  readonly longestMs: number;
  /** Transactions that failed with `database is locked`. */
  readonly locked: number;
  readonly checkpoints: number;
  /** Other errors, the first ten. */
  readonly errors: readonly string[];
}

export interface RunOptions {
  readonly seed: number;
  /** Between two transactions; 0 = full speed. */
  readonly pauseMs?: number;
  /** Old rows are deleted beyond this many. */
  readonly maxRows?: number;
}

type Row = Readonly<Record<string, unknown>>;
type Reply = { readonly error?: string } & Readonly<Record<string, unknown>>;

const SCHEMA = 'CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT, b BLOB)';

/**
 * An application in a process of its own: never the same SQLite build, nor the same process, as the daemon's or the test's. No
 * automatic checkpoint, busy timeout 5 s.
 */
export class Application {
  readonly path: string;
  readonly kind: ApplicationKind;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting: ((reply: Reply) => void)[] = [];
  readonly #ended: Promise<unknown>;

  /** Opens a database, or makes it; does not change it. */
  constructor(path: string, kind: ApplicationKind = 'node') {
    this.path = path;
    this.kind = kind;
    const script = join(
      import.meta.dirname,
      kind === 'node' ? 'application-child.ts' : 'application-child.py',
    );
    const program = kind === 'node' ? process.execPath : 'python3';
    this.#child = spawn(program, [script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#ended = once(this.#child, 'close');
    this.#child.stdin.on('error', () => undefined);
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#waiting.shift()?.(JSON.parse(line) as Reply);
    });
    void this.#ended.then(() => {
      for (const give of this.#waiting) give({ error: 'the application has ended' });
    });
  }

  /** Opens a database in WAL mode with table t(id, v, b); it is killed with the test. */
  static async open(
    t: TestContext,
    path: string,
    { kind = 'node', rows = 0, before = [] }: ApplicationOptions = {},
  ): Promise<Application> {
    const application = new Application(path, kind);
    t.after(() => application.kill());
    await application.exec(...before, 'PRAGMA journal_mode = wal', SCHEMA);
    if (rows > 0) await application.insert(rows);
    return application;
  }

  /** Runs statements one by one; returns the rows of the last. */
  async exec(...sql: string[]): Promise<readonly Row[]> {
    const reply = await this.#call({ op: 'exec', sql });
    return reply['rows'] as Row[];
  }

  /** One transaction that adds rows with random content. */
  async insert(rows = 1, blob = 200): Promise<void> {
    await this.#call({ op: 'insert', rows, blob });
  }

  /** Starts writing without end: inserts, updates and deletes. */
  async run(options: RunOptions): Promise<void> {
    await this.#call({ op: 'run', ...options });
  }

  /** Starts checkpointing without end, in all modes. The database must have been opened by an application of Node.js. */
  async hostile(options: RunOptions): Promise<void> {
    await this.#call({ op: 'hostile', ...options });
  }

  /** Stops what {@link run} or {@link hostile} began. */
  async pause(): Promise<WriterStats> {
    return (await this.#call({ op: 'pause' })) as unknown as WriterStats;
  }

  /** Closes the connection and ends. */
  async close(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  /** SIGKILL, whatever it is doing. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  async #call(command: Readonly<Record<string, unknown>>): Promise<Reply> {
    const reply = await new Promise<Reply>((resolve) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null)
        resolve({ error: 'the application has ended' });
      this.#waiting.push(resolve);
      this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    });
    if (reply.error !== undefined) throw new Error(`${this.kind} application: ${reply.error}`);
    return reply;
  }
}

export interface ApplicationOptions {
  readonly kind?: ApplicationKind;
  readonly rows?: number;
  /** Statements for a new file, ahead of everything else. */
  readonly before?: readonly string[];
}

let python: boolean | undefined;

/** True if the system's Python with SQLite is here. */
export function hasPython(): boolean {
  python ??= spawnSync('python3', ['-c', 'import sqlite3']).status === 0;
  return python;
}
