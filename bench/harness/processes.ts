import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { join } from 'node:path';

const TICKS_PER_SECOND = 100;

/** The command of this checkout. */
export const COMMAND: string = join(import.meta.dirname, '../../bin/litestream');

/** Processor seconds of a process and of its children that have ended, from `/proc`; steps of 10 ms. */
export function cpuSeconds(pid: number | 'self', kinds: 'all' | 'children' = 'all'): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const from = kinds === 'all' ? 11 : 13;
  return fields.slice(from, 15).reduce((sum, field) => sum + Number(field), 0) / TICKS_PER_SECOND;
}

/** Memory of a process, MB. */
export interface Memory {
  readonly rss: number;
  readonly anonymous: number;
  /** Pages that several processes share count in part. */
  readonly pss: number;
}

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const line = (name: string): number =>
    Number(new RegExp(`^${name}: *(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN) / 1024;
  return { rss: line('Rss'), anonymous: line('Anonymous'), pss: line('Pss') };
}

/** Runs a program to its end. @returns wall-clock milliseconds */
export function timed(command: string, args: readonly string[]): number {
  const start = performance.now();
  const { error, status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (error !== undefined || status !== 0) {
    throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? stderr}`);
  }
  return performance.now() - start;
}

/** Waits until it is so. */
export async function until(what: string, isSo: () => boolean, seconds = 120): Promise<void> {
  for (const end = performance.now() + seconds * 1000; !isSo();) {
    if (performance.now() > end) throw new Error(`timed out waiting for ${what}`);
    await wait(2);
  }
}

/** True if two busy threads run about as fast as one: otherwise figures of two threads say nothing. */
export async function hasSecondCore(): Promise<boolean> {
  const spin = `let n = 0; const end = Date.now() + 200; while (Date.now() < end) n++; process.stdout.write(String(n))`;
  const run = (): Promise<number> =>
    new Promise((resolve, reject) => {
      execFile(process.execPath, ['-e', spin], (error, stdout) => {
        if (error === null) resolve(Number(stdout));
        else reject(error);
      });
    });
  const alone = await run();
  const together = await Promise.all([run(), run()]);
  return Math.min(...together) >= 0.9 * alone;
}

/** A program that runs until it is stopped. */
export class Daemon {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor(command: string, args: readonly string[]) {
    this.#child = spawn(command, args, { stdio: 'ignore' });
    this.#ended = new Promise((resolve) => {
      this.#child.once('exit', resolve);
    });
  }

  get pid(): number {
    const { exitCode, pid } = this.#child;
    if (pid === undefined || exitCode !== null) throw new Error('the daemon does not run');
    return pid;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#ended;
  }
}
