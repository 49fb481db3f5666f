import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { tempDir } from './temp-dir.ts';
import { waitFor } from './wait.ts';

const ROOT = join(import.meta.dirname, '../..');
const STOP_MS_MAX = 30_000;
const RUN_MS_MAX = 60_000;

/** One `litestream` command: this checkout's, or a release of the reference. */
export interface Program {
  readonly name: string;
  readonly path: string;
  /** Variables that the command gets beside the harmless ones of the machine. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The command of this checkout. `LITESTREAM_BIN` puts another one in its place. */
export const OURS: Program = {
  name: 'ours',
  path: process.env['LITESTREAM_BIN'] ?? join(ROOT, 'bin/litestream'),
};

/** What reaches a child: nothing of the machine's credentials and settings. */
function cleanEnv(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(AWS|GOOGLE|AZURE|LITESTREAM|OSS|NATS)_|^NODE_|^LOG_LEVEL$/.test(name),
  );
  return Object.fromEntries(kept);
}

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export function runProgram({ path, env }: Program, ...args: string[]): Finished {
  const { status, stdout, stderr, error } = spawnSync(path, args, {
    encoding: 'utf8',
    env: { ...cleanEnv(), ...env },
    timeout: RUN_MS_MAX,
    maxBuffer: 64 << 20,
  });
  if (error !== undefined) throw error;
  return { status, stdout, stderr };
}

/** {@link runProgram} without stopping this process, in which a server of the command may be running. */
export function runBeside({ path, env }: Program, ...args: string[]): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      path,
      args,
      { env: { ...cleanEnv(), ...env }, timeout: RUN_MS_MAX, maxBuffer: 64 << 20 },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') reject(error);
        else resolve({ status: child.exitCode, stdout, stderr });
      },
    );
  });
}

/** A running command with its output in a file. It is killed when the test ends, whatever happens. */
export class Daemon {
  readonly program: Program;
  readonly #child: ChildProcess;
  readonly #logPath: string;
  readonly #ended: Promise<void>;

  constructor(t: TestContext, program: Program, ...args: string[]) {
    this.program = program;
    this.#logPath = join(tempDir(t), 'log');
    const log = openSync(this.#logPath, 'w');
    this.#child = spawn(program.path, args, {
      stdio: ['ignore', log, log],
      env: { ...cleanEnv(), ...program.env },
      detached: true,
    });
    closeSync(log);
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => {
        resolve();
      });
      this.#child.once('error', () => {
        resolve();
      });
    });
    t.after(() => this.kill());
  }

  get log(): string {
    return readFileSync(this.#logPath, 'utf8');
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

  /** Sends a signal and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves when the command has ended, for whatever reason. */
  async ended(timeoutMs: number = STOP_MS_MAX): Promise<void> {
    await waitFor(() => !this.running, { what: `${this.program.name} to end`, timeoutMs });
    await this.#ended;
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
      try {
        process.kill(-this.#child.pid, 'SIGKILL');
      } catch {
        // It ended between the question and the signal.
      }
    }
    await this.#ended;
  }
}
