import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { AppDatabase } from '../support/app-database.ts';
import { Daemon, type Program } from '../support/program.ts';
import { lastTxid } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';

/** Replica folder and configuration of a test's one database. */
export interface Site {
  readonly folder: string;
  readonly replica: string;
  readonly config: string;
}

/** Settings both programs understand: short intervals, so that a test takes moments. */
export function makeSite(folder: string): Site {
  const site = {
    folder,
    replica: join(folder, 'replica'),
    config: join(folder, 'litestream.yml'),
  };
  writeFileSync(
    site.config,
    `dbs:
  - path: ${folder}/app.db
    monitor-interval: 50ms
    replica: { path: ${site.replica}, sync-interval: 50ms }
l0-retention: 1h
`,
  );
  return site;
}

/** One program's time as the replicator. */
export class Stint {
  readonly #site: Site;
  readonly #app: AppDatabase;
  readonly daemon: Daemon;

  private constructor(site: Site, app: AppDatabase, daemon: Daemon) {
    this.#site = site;
    this.#app = app;
    this.daemon = daemon;
  }

  /** Starts the program and waits until a first write has reached the replica: it has taken over. */
  static async start(
    t: TestContext,
    program: Program,
    site: Site,
    app: AppDatabase,
  ): Promise<Stint> {
    const stint = new Stint(site, app, new Daemon(t, program, 'replicate', '-config', site.config));
    await stint.replicate(() => {
      app.insert();
    });
    return stint;
  }

  /** Runs a change of the application and waits for a later transaction to reach the replica. */
  async replicate(change: () => void): Promise<void> {
    const before = lastTxid(this.#site.replica);
    change();
    await waitFor(
      () => {
        this.daemon.assertRunning();
        return lastTxid(this.#site.replica) > before;
      },
      { what: `${this.daemon.program.name} to replicate past ${before}` },
    );
  }

  /** Several transactions that reach the replica one by one. */
  async write(transactions = 3, rows = 5): Promise<void> {
    for (let n = 0; n < transactions; n += 1) {
      await this.replicate(() => {
        this.#app.insert(rows);
      });
    }
  }

  stop(): Promise<void> {
    return this.daemon.stop();
  }
}
