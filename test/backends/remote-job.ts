/** The main job of the command with a real store behind it: replicate, restore, outages, and both programs in turn. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { ReplicaClient } from '../../src/storage/index.ts';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import { Daemon, OURS, runBeside, type Program } from '../support/program.ts';
import { needReference } from '../support/reference.ts';
import { fileDigest } from '../support/replica-folder.ts';
import type { ServerProcess } from '../support/servers/index.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';

/** A store with one empty replica in it. */
export interface JobStore {
  readonly server: Pick<ServerProcess, 'kill' | 'start' | 'pause' | 'resume'>;
  /** The replica's keys and values as they stand in a configuration. */
  readonly replica: Readonly<Record<string, string | number | boolean>>;
  /** Variables that both programs need. */
  readonly env?: Readonly<Record<string, string>>;
  open(): Promise<ReplicaClient>;
}

/** Undefined where the server is not installed; the test is skipped then. */
export type StartJobStore = (t: TestContext) => Promise<JobStore | undefined>;

/** What a daemon says, once it has said it, about a store that it cannot reach. */
const COMPLAINT = /level=(?:ERROR|WARN)[^\n]*(?:ECONNREFUSED|refused|reset|no servers|lost)/;

/** Ours tells everything it can: all of it is searched for secrets. */
const LOUD = { LOG_LEVEL: 'trace', LITESTREAM_S3_DEBUG: 'all' };

class Job {
  readonly folder: string;
  readonly config: string;
  readonly app: AppDatabase;
  readonly store: JobStore;
  readonly #t: TestContext;
  readonly #client: ReplicaClient;

  private constructor(t: TestContext, store: JobStore, client: ReplicaClient) {
    this.#t = t;
    this.store = store;
    this.#client = client;
    this.folder = tempDir(t);
    this.config = join(this.folder, 'litestream.yml');
    const keys = Object.entries(store.replica).map(
      ([key, value]) => `      ${key}: ${JSON.stringify(value)}\n`,
    );
    writeFileSync(
      this.config,
      `dbs:
  - path: ${this.folder}/app.db
    monitor-interval: 50ms
    replica:
      sync-interval: 100ms
${keys.join('')}shutdown-sync-timeout: 2s
levels:
  - interval: 1s
`,
    );
    this.app = new AppDatabase(t, join(this.folder, 'app.db'), { rows: 60 });
    t.after(() => client.close());
  }

  static async start(t: TestContext, startStore: StartJobStore): Promise<Job | undefined> {
    const store = await startStore(t);
    return store && new Job(t, store, await store.open());
  }

  daemon(program: Program): Daemon {
    return new Daemon(this.#t, this.#withEnv(program), 'replicate', '-config', this.config);
  }

  #withEnv(program: Program): Program {
    const loud = program.foreign === true ? {} : LOUD;
    return { ...program, env: { ...loud, ...this.store.env } };
  }

  /** The newest TXID of level 0; 0 for an empty replica. */
  async lastTxid(): Promise<bigint> {
    let last = 0n;
    for await (const { maxTxid } of this.#client.list(0)) last = maxTxid;
    return last;
  }

  /** Some transactions that reach the store one by one. */
  async write(daemon: Daemon, transactions: number): Promise<void> {
    for (let n = 0; n < transactions; n += 1) {
      const before = await this.lastTxid();
      this.app.insert(20);
      await waitFor(
        async () => {
          daemon.assertRunning();
          return (await this.lastTxid()) > before;
        },
        { what: `an upload after ${before}`, timeoutMs: 40_000 },
      );
    }
  }

  async restore(program: Program, name: string): Promise<string> {
    const output = join(this.folder, name);
    const source = join(this.folder, 'app.db');
    const args = ['restore', '-config', this.config, '-o', output, source];
    let run = await runBeside(this.#withEnv(program), ...args);
    // Litestream does not repeat a request on a connection that WsgiDAV has just closed, or on which it took the body of the request
    // before for a new one (400).
    const unlucky = (): boolean =>
      program !== OURS &&
      run.status !== 0 &&
      /net\/http: |broken pipe|connection reset|propfind .*: 400/i.test(run.stderr);
    for (let n = 0; n < 12 && unlucky(); n += 1) {
      run = await runBeside(this.#withEnv(program), ...args);
    }
    assert.equal(run.status, 0, `${program.name} cannot restore: ${run.stdout}${run.stderr}`);
    assert.equal(integrityOf(output), 'ok');
    assert.equal(contentOf(output), contentOf(source), `${program.name} restores something else`);
    return output;
  }
}

/** One program writes, both restore, to the same bytes. */
async function interop(
  t: TestContext,
  start: StartJobStore,
  writer: 'ours' | 'reference',
): Promise<void> {
  const reference = await needReference(t);
  if (reference === undefined) return;
  const job = await Job.start(t, start);
  if (job === undefined) return;
  const daemon = job.daemon(writer === 'ours' ? OURS : reference);
  await job.write(daemon, 4);
  job.app.exec('DELETE FROM t WHERE id % 3 = 0');
  job.app.exec('VACUUM');
  await job.write(daemon, 2);
  await daemon.stop();
  const ours = await job.restore(OURS, 'ours.db');
  const theirs = await job.restore(reference, 'theirs.db');
  assert.equal(fileDigest(ours), fileDigest(theirs));
}

export function remoteJobTests(name: string, start: StartJobStore): void {
  test(`${name}: what is replicated restores, after a restart and from both programs' hands`, async (t) => {
    const job = await Job.start(t, start);
    if (job === undefined) return;
    const reference = await needReference(t);
    if (reference === undefined) return;
    for (const program of [OURS, reference, OURS]) {
      const daemon = job.daemon(program);
      await job.write(daemon, 2);
      await daemon.stop();
    }
    await job.restore(OURS, 'out.db');
  });

  test(`${name}: what we write the reference restores`, (t) => interop(t, start, 'ours'));

  test(`${name}: what the reference writes we restore`, (t) => interop(t, start, 'reference'));

  test(`${name}: BKD-22 a server that is down at the start is waited for`, async (t) => {
    const job = await Job.start(t, start);
    if (job === undefined) return;
    await job.store.server.kill();
    const daemon = job.daemon(OURS);
    await waitFor(() => COMPLAINT.test(daemon.log), {
      what: `a line about the server:\n${daemon.log}`,
      timeoutMs: 60_000,
    });
    job.app.insert(30);
    daemon.assertRunning();
    await job.store.server.start();
    await job.write(daemon, 1);
    await daemon.stop();
    await job.restore(OURS, 'out.db');
  });

  test(`${name}: a server that dies and comes back costs nothing`, async (t) => {
    const job = await Job.start(t, start);
    if (job === undefined) return;
    const daemon = job.daemon(OURS);
    await job.write(daemon, 1);
    await job.store.server.kill();
    for (let n = 0; n < 5; n += 1) job.app.insert(10);
    daemon.assertRunning();
    await job.store.server.start();
    await job.write(daemon, 1);
    await daemon.stop();
    await job.restore(OURS, 'out.db');
  });

  test(`${name}: a stop with a silent server ends within its time`, async (t) => {
    const job = await Job.start(t, start);
    if (job === undefined) return;
    const daemon = job.daemon(OURS);
    await job.write(daemon, 1);
    job.store.server.pause();
    job.app.insert(10);
    daemon.signal('SIGTERM');
    // The reference needs 32 s with NATS.
    await daemon.ended(25_000);
    job.store.server.resume();
    assert.match(daemon.log, /shutdown sync failed after timeout/);
  });
}
