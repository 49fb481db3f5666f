import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { once } from 'node:events';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { PROGRAM } from './spawn.ts';

interface Scene {
  readonly folder: string;
  readonly config: (text: string) => string;
  readonly application: (name?: string) => DatabaseSync;
}

function scene(t: TestContext): Scene {
  const folder = tempDir(t);
  return {
    folder,
    config(text) {
      const path = join(folder, 'litestream.yml');
      writeFileSync(path, text);
      return path;
    },
    application(name = 'app.db') {
      const database = new DatabaseSync(join(folder, name), { timeout: 5000 });
      t.after(() => database.isOpen && database.close());
      database.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)');
      return database;
    },
  };
}

function insert(database: DatabaseSync, rows: number): void {
  const statement = database.prepare('INSERT INTO t VALUES (randomblob(2000))');
  for (let row = 0; row < rows; row++) statement.run();
}

/** A running `litestream replicate`. */
class Running {
  readonly #child: ChildProcess;
  readonly #logPath: string;

  constructor(t: TestContext, folder: string, args: string[], env: Record<string, string> = {}) {
    this.#logPath = join(tempDir(t), 'log');
    const log = openSync(this.#logPath, 'w');
    this.#child = spawn(PROGRAM, ['replicate', ...args], {
      cwd: folder,
      stdio: ['ignore', log, log],
      env: { PATH: process.env['PATH'] ?? '', HOME: folder, ...env },
    });
    t.after(() => this.#child.kill('SIGKILL'));
  }

  get log(): string {
    return readFileSync(this.#logPath, 'utf8');
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async line(pattern: RegExp): Promise<string> {
    return waitFor(
      () => {
        const found = this.log.split('\n').find((line) => pattern.test(line));
        if (found === undefined && !this.isRunning) assert.fail(`it ended:\n${this.log}`);
        return found;
      },
      { what: `${pattern} in:\n${this.log}`, timeoutMs: 30_000 },
    );
  }

  /** Where it answers. */
  async base(): Promise<string> {
    const line = await this.line(/serving metrics on/);
    return /url=(\S+)\/metrics/.exec(line)?.[1] ?? '';
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async ended(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    await waitFor(() => !this.isRunning, { what: 'its end', timeoutMs: 40_000 });
    return { code: this.#child.exitCode, signal: this.#child.signalCode };
  }

  async stop(): Promise<void> {
    this.signal('SIGTERM');
    assert.deepEqual(await this.ended(), { code: 0, signal: null }, this.log);
  }
}

async function get(url: string): Promise<{ status: number; text: string }> {
  const sent = request(url, { agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode ?? 0, text };
}

async function scrape(base: string): Promise<Record<string, number>> {
  const { text } = await get(`${base}/metrics`);
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

/** Every access fails while a plain file stands in the place of the replica's folder. */
function breakReplica(folder: string): void {
  renameSync(folder, `${folder}.away`);
  writeFileSync(folder, 'not a folder');
}

function mendReplica(folder: string): void {
  rmSync(folder);
  renameSync(`${folder}.away`, folder);
}

describe('what a daemon tells about itself', () => {
  it('OPS-10 every series of a database moves when something happens to it', async (t) => {
    const { application, config, folder } = scene(t);
    const database = application();
    const path = config(`
addr: 127.0.0.1:0
levels: [{interval: 1s}]
l0-retention-check-interval: 1s
dbs:
  - path: ${folder}/app.db
    min-checkpoint-page-count: 10
    replica: {path: ${folder}/replica}
`);
    const daemon = new Running(t, folder, ['-config', path]);
    const base = await daemon.base();
    const db = `{db="${folder}/app.db"}`;
    insert(database, 40);
    const wanted: Readonly<Record<string, (value: number) => boolean>> = {
      [`litestream_db_size${db}`]: (value) => value === statSync(`${folder}/app.db`).size,
      [`litestream_wal_size${db}`]: (value) => value > 32,
      [`litestream_total_wal_bytes${db}`]: (value) => value > 40 * 4096,
      [`litestream_txid${db}`]: (value) => value > 0,
      [`litestream_sync_count${db}`]: (value) => value > 2,
      [`litestream_sync_seconds${db}`]: (value) => value > 0,
      [`litestream_checkpoint_count{db="${folder}/app.db",mode="PASSIVE"}`]: (value) => value > 0,
      [`litestream_checkpoint_seconds{db="${folder}/app.db",mode="PASSIVE"}`]: (value) => value > 0,
      [`litestream_l0_retention_files_total{db="app.db",status="too_recent"}`]: (value) =>
        value > 0,
      [`litestream_replica_txid${db}`]: (value) => value > 0,
      'litestream_replica_operation_total{operation="PUT",replica_type="file"}': (n) => n > 2,
      'litestream_replica_operation_total{operation="LIST",replica_type="file"}': (n) => n > 2,
      'litestream_replica_operation_bytes{operation="PUT",replica_type="file"}': (n) => n > 4096,
    };
    for (const [series, holds] of Object.entries(wanted)) {
      await waitFor(async () => holds((await scrape(base))[series] ?? -1), { what: series });
    }
    const before = await scrape(base);
    assert.equal(before[`litestream_sync_error_count${db}`], 0);
    assert.equal(before[`litestream_disk_full${db}`], 0);
    assert.equal(before[`litestream_compaction_verify_error_count${db}`], 0);
    assert.match((await get(`${base}/`)).text, /level 1 [0-9a-f]{16} \d{4}-/);
    breakReplica(join(folder, 'replica'));
    insert(database, 1);
    const failed =
      'litestream_replica_operation_errors_total{code="ENOTDIR",operation="PUT",replica_type="file"}';
    await waitFor(async () => ((await scrape(base))[failed] ?? 0) > 0, { what: failed });
    await waitFor(
      async () => ((await scrape(base))[`litestream_replica_lag_seconds${db}`] ?? 0) > 0,
      {
        what: 'lag',
      },
    );
    mendReplica(join(folder, 'replica'));
    await waitFor(async () => (await scrape(base))[`litestream_replica_lag_seconds${db}`] === 0, {
      what: 'no lag',
    });
    await daemon.stop();
  });

  it('OPS-04 a file that is no database is counted, logged, and not healthy', async (t) => {
    const { config, folder } = scene(t);
    writeFileSync(join(folder, 'app.db'), 'this is no database'.repeat(500));
    const path = config(`
addr: 127.0.0.1:0
watchdog-threshold: 1s
dbs:
  - path: ${folder}/app.db
    replica: {path: ${folder}/replica}
`);
    const daemon = new Running(t, folder, ['-config', path]);
    const base = await daemon.base();
    const errors = `litestream_sync_error_count{db="${folder}/app.db"}`;
    await waitFor(async () => ((await scrape(base))[errors] ?? 0) > 0, { what: errors });
    await daemon.line(/level=ERROR msg="sync error"/);
    await daemon.line(/level=ERROR msg="replica is not keeping up" system=store db=app.db /);
    const { status, text } = await get(`${base}/healthz`);
    assert.equal(status, 503);
    assert.match(text, /"status":"unhealthy"/);
    await daemon.stop();
  });

  it('OPS-04 says when a replica does not keep up, and when it does again', async (t) => {
    const { application, config, folder } = scene(t);
    const database = application();
    const path = config(`
addr: 127.0.0.1:0
watchdog-threshold: 1s
dbs:
  - path: ${folder}/app.db
    lag-alert: 500ms
    replica: {path: ${folder}/replica}
`);
    const daemon = new Running(t, folder, ['-config', path]);
    const base = await daemon.base();
    const replicated = `litestream_replica_txid{db="${folder}/app.db"}`;
    await waitFor(async () => ((await scrape(base))[replicated] ?? 0) > 0, { what: replicated });
    assert.equal((await get(`${base}/healthz`)).status, 200);
    breakReplica(join(folder, 'replica'));
    insert(database, 1);
    await daemon.line(/level=WARN msg="replication lag exceeds threshold".* db=app.db lag=/);
    await daemon.line(/level=ERROR msg="replica is not keeping up".* threshold=1s error=/);
    assert.equal((await get(`${base}/healthz`)).status, 503);
    mendReplica(join(folder, 'replica'));
    await daemon.line(/level=INFO msg="replica is keeping up again".* db=app.db duration=/);
    await daemon.line(/level=INFO msg="replication lag recovered".* db=app.db duration=/);
    await daemon.line(/msg="stream resumed"/);
    assert.equal((await get(`${base}/healthz`)).status, 200);
    await daemon.stop();
  });

  it('OPS-13 an upload is no line at the default level', async (t) => {
    const { application, config, folder } = scene(t);
    const database = application();
    const path = config(`
addr: 127.0.0.1:0
dbs:
  - path: ${folder}/app.db
    replica: {path: ${folder}/replica, sync-interval: 10ms}
`);
    const daemon = new Running(t, folder, ['-config', path]);
    const base = await daemon.base();
    const replicated = `litestream_replica_txid{db="${folder}/app.db"}`;
    for (let txid = 1; txid <= 20; txid++) {
      insert(database, 1);
      await waitFor(async () => ((await scrape(base))[replicated] ?? 0) >= txid, {
        what: replicated,
      });
    }
    await daemon.stop();
    const messages = Array.from(daemon.log.matchAll(/ msg=("[^"]*"|\S+)/g), ([, text = '']) =>
      text.replaceAll('"', ''),
    );
    const unexpected = messages.filter(
      (text) =>
        !/^(litestream|starting |initialized db|replicating to|serving |signal |compaction complete|snapshot complete|l0 retention)/.test(
          text,
        ),
    );
    assert.deepEqual(unexpected, []);
    assert.ok(messages.length < 25, daemon.log);
  });

  it('a database that does not exist yet is starting, not unhealthy', async (t) => {
    const { config, folder } = scene(t);
    const path = config(`
addr: 127.0.0.1:0
watchdog-threshold: 1s
dbs:
  - path: ${folder}/later.db
    replica: {path: ${folder}/replica}
`);
    const daemon = new Running(t, folder, ['-config', path]);
    const base = await daemon.base();
    const count = `litestream_sync_count{db="${folder}/later.db"}`;
    await waitFor(async () => ((await scrape(base))[count] ?? 0) > 3, { what: count });
    const { status, text } = await get(`${base}/healthz`);
    assert.equal(status, 200);
    assert.match(text, /"status":"starting","txid":0/);
    await daemon.stop();
  });

  it('the listener answers during the last uploads and does not delay the end', async (t) => {
    const { application, config, folder } = scene(t);
    const database = application();
    const path = config(`
addr: 127.0.0.1:0
shutdown-sync-timeout: 3s
dbs:
  - path: ${folder}/app.db
    replica: {path: ${folder}/replica}
`);
    const daemon = new Running(t, folder, ['-config', path]);
    const base = await daemon.base();
    const replicated = `litestream_replica_txid{db="${folder}/app.db"}`;
    await waitFor(async () => ((await scrape(base))[replicated] ?? 0) > 0, { what: replicated });
    const waiting = request(base, { agent: false });
    waiting.on('error', () => undefined);
    waiting.flushHeaders();
    breakReplica(join(folder, 'replica'));
    insert(database, 1);
    daemon.signal('SIGTERM');
    await daemon.line(/shutdown sync failed, retrying/);
    assert.equal((await get(`${base}/metrics`)).status, 200);
    assert.equal((await daemon.ended()).code, 0);
    assert.match(daemon.log, /msg="litestream shut down"\n$/);
    assert.doesNotMatch(daemon.log, /not keeping up/);
  });

  it('a port that is taken is an error line, and one that is missing ends the program', async (t) => {
    const { config, folder } = scene(t);
    const holder = createTcpServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    t.after(() => holder.close());
    const { port } = holder.address() as AddressInfo;
    const daemon = new Running(t, folder, ['-config', config(`addr: 127.0.0.1:${port}\n`)]);
    const line = await daemon.line(/cannot start metrics server/);
    assert.ok(line.includes(`listen tcp 127.0.0.1:${port}: bind: address already in use`), line);
    await daemon.stop();
    for (const address of ['localhost', '::1']) {
      const refused = new Running(t, folder, ['-config', config(`addr: "${address}"\n`)]);
      assert.equal((await refused.ended()).code, 1);
      assert.match(refused.log, /must specify port for bind address: "/);
    }
  });
});

describe('signals and service managers', () => {
  it('SIGUSR1 and SIGUSR2 change nothing, SIGHUP ends the program at once', async (t) => {
    const { config, folder } = scene(t);
    const daemon = new Running(t, folder, ['-config', config('addr: 127.0.0.1:0\n')]);
    const base = await daemon.base();
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGPIPE', 'SIGWINCH'] as const) {
      daemon.signal(signal);
      assert.equal((await get(`${base}/healthz`)).status, 200);
    }
    assert.doesNotMatch(daemon.log, /ebugger/);
    daemon.signal('SIGHUP');
    assert.deepEqual(await daemon.ended(), { code: null, signal: 'SIGHUP' });
  });

  it('systemd hears that the service is ready, alive and stopping', async (t) => {
    const { application, config, folder } = scene(t);
    application();
    const heard = join(folder, 'heard');
    writeFileSync(join(folder, 'systemd-notify'), `#!/bin/sh\necho "$@" >> ${heard}\n`);
    chmodSync(join(folder, 'systemd-notify'), 0o755);
    const path = config(`dbs: [{path: ${folder}/app.db, replica: {path: ${folder}/replica}}]\n`);
    const daemon = new Running(t, folder, ['-config', path], {
      PATH: `${folder}:${process.env['PATH']}`,
      NOTIFY_SOCKET: join(folder, 'socket'),
      WATCHDOG_USEC: '400000',
    });
    const lines = (): string[] =>
      existsSync(heard) ? readFileSync(heard, 'utf8').split('\n') : [];
    await waitFor(() => lines().filter((line) => line.includes('WATCHDOG=1')).length >= 2, {
      what: 'signs of life',
    });
    assert.ok(lines().includes(`--pid=${daemon.pid} --ready --status=replicating 1 database`));
    await daemon.stop();
    await waitFor(() => lines().some((line) => line.includes('STOPPING=1')), { what: 'the end' });
  });

  it('nothing is sent to a manager that did not ask, or asked another process', async (t) => {
    const { config, folder } = scene(t);
    const heard = join(folder, 'heard');
    writeFileSync(join(folder, 'systemd-notify'), `#!/bin/sh\necho "$@" >> ${heard}\n`);
    chmodSync(join(folder, 'systemd-notify'), 0o755);
    const PATH = `${folder}:${process.env['PATH']}`;
    const unasked = new Running(t, folder, ['-config', config('')], {
      PATH,
      WATCHDOG_USEC: '1000',
    });
    await unasked.line(/no databases/);
    await unasked.stop();
    assert.ok(!existsSync(heard));
    const other = { PATH, NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    const daemon = new Running(t, folder, ['-config', config('')], other);
    await waitFor(() => existsSync(heard), { what: 'ready' });
    await daemon.stop();
    await waitFor(() => readFileSync(heard, 'utf8').includes('STOPPING=1'), { what: 'the end' });
    assert.doesNotMatch(readFileSync(heard, 'utf8'), /WATCHDOG/);
  });
});
