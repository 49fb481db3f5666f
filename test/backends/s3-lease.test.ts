/** Two daemons that want one replica, and the lease between them. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AppDatabase, contentOf } from '../support/app-database.ts';
import { Daemon, OURS, runProgram } from '../support/program.ts';
import { type S3Server, startVersitygw } from '../support/servers/index.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { allKeys } from './s3-objects.ts';

const LEASE_MS = 30_000;

/** A machine of its own: a database, a configuration, a daemon. */
class Site {
  readonly app: AppDatabase;
  readonly daemon: Daemon;
  readonly #config: string;
  readonly #folder: string;

  constructor(t: TestContext, server: S3Server) {
    this.#folder = tempDir(t);
    this.#config = join(this.#folder, 'litestream.yml');
    const path = join(this.#folder, 'app.db');
    writeFileSync(
      this.#config,
      `dbs:
  - path: ${path}
    monitor-interval: 50ms
    replica:
      type: s3
      bucket: ${server.bucket}
      path: db
      endpoint: ${server.endpoint}
      access-key-id: ${server.accessKeyId}
      secret-access-key: ${server.secretAccessKey}
      sync-interval: 100ms
      lease: true
shutdown-sync-timeout: 2s
`,
    );
    this.app = new AppDatabase(t, path, { rows: 30 });
    this.daemon = new Daemon(t, OURS, 'replicate', '-config', this.#config);
  }

  said(text: string, timeoutMs: number): Promise<true> {
    return waitFor(() => this.daemon.log.includes(text), {
      what: `"${text}" in\n${this.daemon.log}`,
      timeoutMs,
    });
  }

  restore(): string {
    const output = join(this.#folder, 'out.db');
    const run = runProgram(OURS, 'restore', '-config', this.#config, '-o', output, this.app.path);
    assert.equal(run.status, 0, run.stderr);
    return contentOf(output);
  }
}

function ownerOf(server: S3Server): string {
  const text = readFileSync(join(server.root ?? '', 'db/lock.json'), 'utf8');
  return String((JSON.parse(text) as { owner?: string }).owner);
}

async function filesAbove(server: S3Server, count: number): Promise<number> {
  return waitFor(
    async () => {
      const keys = await allKeys(server, 'db/0000/');
      return keys.length > count && keys.length;
    },
    { what: `more than ${count} files`, timeoutMs: 30_000 },
  );
}

test('OPS-01 a paused holder of the lease writes nothing after another one took over', async (t) => {
  const server = await startVersitygw(t);
  if (server === undefined) return;
  const first = new Site(t, server);
  const files = await filesAbove(server, 0);
  assert.ok(ownerOf(server).endsWith(`:${first.daemon.pid}`), ownerOf(server));
  const second = new Site(t, server);
  await second.said('lease already held by', 20_000);
  first.app.insert(5);
  await filesAbove(server, files);

  // It keeps its sockets and its timers, and does not run.
  process.kill(-first.daemon.pid, 'SIGSTOP');
  const pausedAt = performance.now();
  const before = await filesAbove(server, 0);
  second.app.insert(5);
  await second.said('lease acquired', LEASE_MS + 20_000);
  t.diagnostic(`taken over after ${Math.round(performance.now() - pausedAt)} ms`);
  await filesAbove(server, before);
  first.app.insert(5);
  process.kill(-first.daemon.pid, 'SIGCONT');
  await first.said('another process has taken over', 20_000);
  second.app.insert(5);
  await filesAbove(server, before + 1);
  first.daemon.assertRunning();

  await second.daemon.stop();
  assert.equal(second.restore(), contentOf(second.app.path));
  const left = await allKeys(server, 'db/lock.json');
  assert.deepEqual(left, [], 'given back at the end');
});

test('OPS-01 a lease that is given back is taken over within seconds', async (t) => {
  const server = await startVersitygw(t);
  if (server === undefined) return;
  const first = new Site(t, server);
  const files = await filesAbove(server, 0);
  const second = new Site(t, server);
  await second.said('lease already held by', 20_000);
  await first.daemon.stop();
  const stoppedAt = performance.now();
  second.app.insert(5);
  await filesAbove(server, files);
  t.diagnostic(`first upload ${Math.round(performance.now() - stoppedAt)} ms after the stop`);
  await second.daemon.stop();
  assert.equal(second.restore(), contentOf(second.app.path));
});
