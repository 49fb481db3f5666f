/** The only place where tests start the program. What it prints is searched for secrets. */
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { commandLineOf, descendantsOf } from './processes.ts';
import { assertNoSecret, registerGiven, reportSecrets } from './secrets.ts';
import { waitFor } from './wait.ts';

const ROOT = join(import.meta.dirname, '../..');
const STOP_MS_MAX = 30_000;
const RUN_MS_MAX = 60_000;
const OUTPUT_BYTES_MAX = 64 << 20;

/** One `litestream` command: this checkout's, or a release of the reference. */
export interface Program {
  readonly name: string;
  readonly path: string;
  /** Variables that the command gets beside the harmless ones of the machine. */
  readonly env?: Readonly<Record<string, string>>;
  /** All variables that the command gets; then `env` and the machine's count for nothing. */
  readonly onlyEnv?: Readonly<Record<string, string>>;
  /** Where it runs. Default: where this process does. */
  readonly cwd?: string;
  /** What stands before its path: a command that starts it. */
  readonly before?: readonly string[];
  /** What it can read from its standard input. Only for {@link runProgram}. */
  readonly input?: string;
  /** Standard output goes to a file of its own. Only for {@link Daemon}. */
  readonly split?: true;
  /** Another project's, whose outputs are not ours to answer for. */
  readonly foreign?: true;
}

/** The command of this checkout. `LITESTREAM_BIN` puts another one in its place. */
export const OURS: Program = {
  name: 'ours',
  path: process.env['LITESTREAM_BIN'] ?? join(ROOT, 'bin/litestream'),
};

/** The command under this process's Node.js with these flags. */
export function withNodeFlags(...flags: readonly string[]): Program {
  const path = join(ROOT, 'src/cli/bin.ts');
  return { name: `ours with ${flags.join(' ')}`, path, before: [process.execPath, ...flags] };
}

/** The command in a folder of its own, without any variable of this machine, and without a default configuration. */
export function inFolder(folder: string, env: Readonly<Record<string, string>> = {}): Program {
  const PATH = process.env['PATH'] ?? '';
  const LITESTREAM_CONFIG = join(folder, 'absent.yml');
  return { ...OURS, cwd: folder, onlyEnv: { PATH, HOME: folder, LITESTREAM_CONFIG, ...env } };
}

/** What reaches a child: nothing of the machine's credentials and settings. */
function cleanEnv(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(AWS|GOOGLE|AZURE|LITESTREAM|OSS|NATS)_|^NODE_|^LOG_LEVEL$/.test(name),
  );
  return Object.fromEntries(kept);
}

interface Start {
  readonly file: string;
  readonly words: readonly string[];
  readonly options: { readonly cwd: string | undefined; readonly env: NodeJS.ProcessEnv };
}

/** How a command is started. Registers the secrets that it is given. */
function startOf(program: Program, args: readonly string[]): Start {
  const { path, env, onlyEnv, cwd, before = [] } = program;
  registerGiven(args, onlyEnv ?? env);
  const [file = path, ...words] = [...before, path, ...args];
  return { file, words, options: { cwd, env: onlyEnv ?? { ...cleanEnv(), ...env } } };
}

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** For messages. An argument may be a URL with a password. */
function nameOf({ name }: Program, [command = '']: readonly string[]): string {
  return /^-?[\w-]+$/.test(command) ? `${name} ${command}` : name;
}

function checked(program: Program, args: readonly string[], finished: Finished): Finished {
  if (program.foreign === true) return finished;
  for (const stream of ['stdout', 'stderr'] as const) {
    assertNoSecret(`${stream} of "${nameOf(program, args)}"`, finished[stream]);
  }
  return finished;
}

/** Runs a command to its end. */
export function runProgram(program: Program, ...args: string[]): Finished {
  const { file, words, options } = startOf(program, args);
  const { status, stdout, stderr, error } = spawnSync(file, words, {
    ...options,
    ...(program.input !== undefined && { input: program.input }),
    encoding: 'utf8',
    timeout: RUN_MS_MAX,
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  if (error !== undefined) throw error;
  return checked(program, args, { status, stdout, stderr });
}

/** {@link runProgram} without stopping this process, in which a server of the command may be running. */
export function runBeside(program: Program, ...args: string[]): Promise<Finished> {
  const { file, words, options } = startOf(program, args);
  const bounds = { timeout: RUN_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX };
  const finished = new Promise<Finished>((resolve, reject) => {
    const child = execFile(file, words, { ...options, ...bounds }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve({ status: child.exitCode, stdout, stderr });
    });
  });
  return finished.then((done) => checked(program, args, done));
}

/**
 * How to start the command for a library that starts it by itself. Only for those: who uses it has to search what the command prints
 * with {@link assertNoSecret}.
 */
export function startedByOthers(
  program: Program,
  ...args: string[]
): { command: string; args: string[] } {
  const { file, words } = startOf(program, args);
  return { command: file, args: [...words] };
}

/** A running command with its output in a file. It is killed when the test ends, whatever happens. */
export class Daemon {
  readonly program: Program;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #args: readonly string[];
  readonly #ended: Promise<void>;

  constructor(t: TestContext, program: Program, ...args: string[]) {
    this.program = program;
    this.#args = args;
    this.#folder = mkdtempSync(join(tmpdir(), 'litestream-daemon-'));
    const log = openSync(this.#logPath, 'a');
    const output = program.split === true ? openSync(this.#outputPath, 'a') : log;
    const { file, words, options } = startOf(program, args);
    this.#child = spawn(file, words, {
      ...options,
      stdio: ['ignore', output, log],
      detached: true,
    });
    for (const descriptor of new Set([log, output])) closeSync(descriptor);
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => {
        resolve();
      });
      this.#child.once('error', () => {
        resolve();
      });
    });
    t.after(async () => {
      await this.kill();
      this.#checkOutputs();
      rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
    });
  }

  get #logPath(): string {
    return join(this.#folder, 'log');
  }

  get #outputPath(): string {
    return join(this.#folder, 'stdout');
  }

  /** What it printed: to standard error and, unless the two are split, to standard output. */
  get log(): string {
    return readFileSync(this.#logPath, 'utf8');
  }

  /** What it printed to standard output, of one with `split`. */
  get stdout(): string {
    return readFileSync(this.#outputPath, 'utf8');
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Exit status; null while it runs, or if a signal ended it. */
  get status(): number | null {
    return this.#child.exitCode;
  }

  /** The signal that ended it. */
  get endedBy(): NodeJS.Signals | null {
    return this.#child.signalCode;
  }

  /** Sends a signal and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#checkCommandLines();
    this.#child.kill(signal);
  }

  /** Resolves when the command has ended, for whatever reason. */
  async ended(timeoutMs: number = STOP_MS_MAX): Promise<void> {
    await waitFor(() => !this.running, { what: `${this.program.name} to end`, timeoutMs });
    await this.#ended;
  }

  /** The first line of the log that matches, as soon as there is one. */
  line(pattern: RegExp): Promise<string> {
    return waitFor(
      () => {
        const { running } = this;
        const found = this.log.split('\n').find((line) => pattern.test(line));
        // What was read first counts: the line may be the last one before the end.
        if (found === undefined && !running) this.assertRunning();
        return found;
      },
      { what: `${pattern} in the log of ${this.program.name}`, timeoutMs: STOP_MS_MAX },
    );
  }

  /** Fails the test if the command has ended by itself. */
  assertRunning(): void {
    assert.ok(this.running, `${this.program.name} ended by itself:\n${this.log}`);
  }

  /** SIGTERM, or another signal, and the exit status 0. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.assertRunning();
    this.signal(signal);
    await this.ended();
    assert.equal(this.#child.exitCode, 0, `${this.program.name} stopped badly:\n${this.log}`);
  }

  /** SIGKILL to the whole process group: what a power cut leaves behind. */
  async kill(): Promise<void> {
    if (this.#child.pid !== undefined && this.running) {
      this.#checkCommandLines();
      try {
        process.kill(-this.#child.pid, 'SIGKILL');
      } catch {
        // It ended between the question and the signal.
      }
    }
    await this.#ended;
  }

  #checkOutputs(): void {
    const { foreign, split } = this.program;
    if (foreign === true) return;
    const name = nameOf(this.program, this.#args);
    reportSecrets(`log of "${name}"`, this.log);
    if (split === true) reportSecrets(`stdout of "${name}"`, this.stdout);
  }

  /** Everybody can read these. What the test itself gave as an argument is the test's. */
  #checkCommandLines(): void {
    if (this.program.foreign === true || !this.running) return;
    const name = nameOf(this.program, this.#args);
    for (const pid of [this.pid, ...descendantsOf(this.pid)]) {
      const words = commandLineOf(pid).filter((word) => !this.#args.includes(word));
      reportSecrets(`command line of "${name}"`, words.join('\n'));
    }
  }
}
