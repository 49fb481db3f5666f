import assert from 'node:assert/strict';
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { contentOf, integrityOf } from '../support/app-database.ts';
import { Application, hasPython, type ApplicationOptions } from '../support/application.ts';
import { Daemon, OURS, runProgram } from '../support/program.ts';
import { filesOf, type ReplicaFile } from '../support/replica-folder.ts';
import { parseFullLines, type FullLine } from '../support/log-lines.ts';
import { readLtxFacts } from '../support/ltx-facts.ts';
import { tempDir } from '../support/temp-dir.ts';

export interface SceneOptions {
  /** Keys of the database entry, for example `min-checkpoint-page-count: 10`. */
  readonly database?: readonly string[];
  /** Keys of the configuration's top level. */
  readonly top?: readonly string[];
  /** Where the database is; default: `app.db` in the scene's folder. */
  readonly folder?: string;
}

/** One database, its application, its daemon and its folder replica. */
export class Scene {
  readonly folder: string;
  readonly database: string;
  readonly replica: string;
  readonly config: string;
  readonly #t: TestContext;
  readonly #daemons: Daemon[] = [];
  #restores = 0;

  constructor(t: TestContext, { database = [], top = [], folder }: SceneOptions = {}) {
    this.#t = t;
    this.folder = tempDir(t);
    this.database = join(folder ?? this.folder, 'app.db');
    this.replica = join(this.folder, 'replica');
    this.config = join(this.folder, 'litestream.yml');
    const lines = [
      ...top,
      'l0-retention: 1h',
      'dbs:',
      `  - path: ${this.database}`,
      '    monitor-interval: 50ms',
      ...database.map((line) => `    ${line}`),
      `    replica: { path: ${this.replica}, sync-interval: 50ms }`,
      '',
    ];
    writeFileSync(this.config, lines.join('\n'));
  }

  /** The application, with 300 rows unless said otherwise. */
  application(options: ApplicationOptions = {}): Promise<Application> {
    return Application.open(this.#t, this.database, { rows: 300, ...options });
  }

  /** Starts a daemon; the one before must have ended. */
  start(...args: string[]): Daemon {
    const arguments_ = args.length > 0 ? args : ['-config', this.config];
    const daemon = new Daemon(this.#t, OURS, 'replicate', ...arguments_);
    this.#daemons.push(daemon);
    return daemon;
  }

  /** Log of all daemons so far. */
  get log(): string {
    return this.#daemons.map((daemon) => daemon.log).join('');
  }

  /** Restores the replica now; undefined if there is nothing to restore yet. */
  restore(replica: string = this.replica): string | undefined {
    this.#restores += 1;
    const output = join(this.folder, `restored-${this.#restores}.db`);
    const { status } = runProgram(OURS, 'restore', '-o', output, `file://${replica}`);
    return status === 0 && existsSync(output) ? output : undefined;
  }

  /** The database as the replica has it equals the one in use, which nobody writes meanwhile, and is sound. */
  async converged(replica: string = this.replica, timeoutMs = 20_000): Promise<string> {
    const wanted = contentOf(this.database);
    const until = performance.now() + timeoutMs;
    let output = this.#equalRestore(wanted, replica);
    while (output === undefined) {
      this.#daemons.at(-1)?.assertRunning();
      if (performance.now() > until) assert.fail(`no restore equals the database\n${this.log}`);
      await sleep(100);
      output = this.#equalRestore(wanted, replica);
    }
    assert.equal(integrityOf(output), 'ok');
    return output;
  }

  /** The same after the daemon has ended: now or never. */
  equal(replica: string = this.replica): string {
    const output = this.#equalRestore(contentOf(this.database), replica);
    assert.ok(output !== undefined, `the restore differs from the database; log:\n${this.log}`);
    assert.equal(integrityOf(output), 'ok');
    return output;
  }

  #equalRestore(wanted: string, replica: string): string | undefined {
    const output = this.restore(replica);
    return output !== undefined && contentOf(output) === wanted ? output : undefined;
  }

  /** The store is down: a plain file stands in the replica's place. */
  block(replica: string = this.replica): void {
    renameSync(replica, `${replica}.away`);
    writeFileSync(replica, 'not a folder');
  }

  unblock(replica: string = this.replica): void {
    rmSync(replica);
    renameSync(`${replica}.away`, replica);
  }

  /** Level-0 files with every page of the database, the very first included. */
  fullFiles(replica: string = this.replica): ReplicaFile[] {
    return filesOf(replica).filter(({ path }) => {
      const { pages, commit } = readLtxFacts(path);
      return pages >= commit;
    });
  }

  /** What the daemons said about full transactions after the first. */
  fullLines(): FullLine[] {
    return parseFullLines(this.log);
  }

  /**
   * No daemon wrote the whole database except with its first transaction, and none without a reason: a checkpoint that ran before
   * a kill lets the application restart the WAL, and then nothing is proven.
   */
  assertFullOnlyAtStart(): void {
    for (const daemon of this.#daemons) {
      const lines = parseFullLines(daemon.log);
      assert.ok(lines.length <= 1 && lines[0]?.reason !== '', daemon.log);
    }
  }

  /** Level 0 has one file per TXID, without a hole. */
  assertUnbroken(replica: string = this.replica): void {
    const found = filesOf(replica).map(({ minTxid, maxTxid }) => [minTxid, maxTxid]);
    const first = Number.parseInt(found[0]?.[0] ?? '', 16);
    const wanted = found.map((_file, at) => [hex(first + at), hex(first + at)]);
    assert.deepEqual(found, wanted);
  }
}

function hex(txid: number): string {
  return txid.toString(16).padStart(16, '0');
}

/** True if the system's Python can play the application; says so where it cannot. */
export function canBe(t: TestContext, kind: 'node' | 'python'): boolean {
  if (kind === 'node' || hasPython()) return true;
  t.skip('python3: not installed, or without sqlite3');
  return false;
}

/** Reduced sizes unless `SLOW=1`. */
export const SLOW: boolean = process.env['SLOW'] === '1';
