import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseFullLines, type FullLine } from '../../test/support/log-lines.ts';

const PROGRAM = process.env['LITESTREAM_BIN'] ?? join(import.meta.dirname, '../../bin/litestream');

/** What one run of the daemon left behind. */
export interface LifeReport {
  /** Full transactions behind the first one of this run: nothing explains them. */
  readonly unexplained: readonly FullLine[];
  readonly full: readonly FullLine[];
  /** Messages at WARN and ERROR, without the expected ones. */
  readonly complaints: readonly string[];
  /** It ended although nobody had asked it to, or with the wrong status. */
  readonly failure: string | undefined;
}

export interface LifeOptions {
  readonly config: string;
  readonly logPath: string;
  /** Of the database, to see which transaction will be this run's first. */
  readonly metaFolder: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** One run of `litestream replicate`, from start to signal. */
export class Life {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #logPath: string;
  readonly #firstTxid: number;

  constructor({ config, environment, logPath, metaFolder }: LifeOptions) {
    this.#firstTxid = newestLocal(metaFolder) + 1;
    this.#logPath = logPath;
    const log = openSync(logPath, 'w');
    this.#child = spawn(PROGRAM, ['replicate', '-config', config], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...environment },
    });
    closeSync(log);
    this.#ended = once(this.#child, 'close');
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get log(): string {
    return readFileSync(this.#logPath, 'utf8');
  }

  /** Resident memory in MiB and open descriptors; undefined if it has ended. */
  vitals(): { rss: number; descriptors: number } | undefined {
    try {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
      const rss = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
      return { rss, descriptors: readdirSync(`/proc/${this.#child.pid}/fd`).length };
    } catch {
      return undefined;
    }
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<LifeReport> {
    const alone = !this.running;
    this.#child.kill(signal);
    await this.#ended;
    const bad = signal === 'SIGTERM' && this.#child.exitCode !== 0 && this.log !== '';
    const failure =
      alone || bad
        ? `the daemon ended with ${this.#child.exitCode ?? this.#child.signalCode}:\n${this.log.slice(-4000)}`
        : undefined;
    const full = parseFullLines(this.log);
    const complaints = Array.from(
      this.log.matchAll(/level=(?:WARN|ERROR) msg=("[^"]*"|\S+)(?:.* error=("[^"]*"|\S+))?/g),
      ([, message = '', error = '']) => `${message} ${error}`.trim(),
    ).filter((text) => !text.includes('writing the whole database'));
    const unexplained = full.filter(
      ({ txid, reason }) => txid !== this.#firstTxid || reason === '',
    );
    return { unexplained, full, complaints, failure };
  }
}

function newestLocal(metaFolder: string): number {
  try {
    const names = readdirSync(join(metaFolder, 'ltx/0')).filter((name) => name.endsWith('.ltx'));
    return Number.parseInt(names.toSorted().at(-1)?.slice(0, 16) ?? '0', 16);
  } catch {
    return 0;
  }
}
