import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { AppDatabase, contentOf } from '../support/app-database.ts';
import { ask } from '../support/control.ts';
import { Daemon, OURS, runProgram } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { makeSecret } from '../support/secrets.ts';

/** A folder with a configuration: control socket `c.sock`, a replica folder per database. */
class Site {
  readonly folder: string;
  readonly socket: string;
  readonly #t: TestContext;
  #restores = 0;

  constructor(t: TestContext, ...lines: readonly string[]) {
    this.#t = t;
    this.folder = tempDir(t);
    this.socket = join(this.folder, 'c.sock');
    const text = [`socket: { enabled: true, path: ${this.socket} }`, ...lines, ''].join('\n');
    writeFileSync(join(this.folder, 'l.yml'), text.replaceAll('FOLDER', this.folder));
  }

  /** Starts a daemon and waits until it answers, unless another one holds the socket. */
  async start(ready = 'control socket'): Promise<Daemon> {
    const daemon = new Daemon(this.#t, OURS, 'replicate', '-config', join(this.folder, 'l.yml'));
    await waitFor(
      () => {
        daemon.assertRunning();
        return daemon.log.includes(ready);
      },
      { what: ready },
    );
    return daemon;
  }

  /** A command with the socket's path. */
  run(command: string, ...args: string[]): { status: number | null; stdout: string } {
    const { status, stdout, stderr } = runProgram(OURS, command, '-socket', this.socket, ...args);
    return { status, stdout: stdout + stderr };
  }

  /** What the replica holds now. */
  restore(replica: string): string {
    this.#restores += 1;
    const output = join(this.folder, `restored-${this.#restores}.db`);
    const { status, stderr } = runProgram(
      OURS,
      'restore',
      '-o',
      output,
      `file://${join(this.folder, replica)}`,
    );
    assert.equal(status, 0, stderr);
    return output;
  }
}

const ONE = 'dbs: [{ path: FOLDER/app.db, replica: { path: FOLDER/r } }]';

test('OPS-12 in a rolling restart the new daemon has the socket, and nothing is lost', async (t) => {
  const site = new Site(t, ONE);
  const app = new AppDatabase(t, join(site.folder, 'app.db'));
  const old = await site.start('control socket listening');
  app.insert(5);
  const fresh = await site.start('control socket in use by another process');
  app.insert(5);
  await old.stop();
  await waitFor(() => fresh.log.includes('control socket listening'), { what: 'the new socket' });
  app.insert(5);
  const done = await waitFor(
    () => {
      const sync = site.run('sync', '-wait', app.path);
      return sync.status === 0 && sync;
    },
    { what: 'the new daemon to have the database' },
  );
  assert.match(done.stdout, /^db_path: .*\ntxid: (\d+)\nreplica_txid: \1\nduration_ms: \d+\n$/);
  const info: unknown = (await ask(site.socket, 'GET', '/info')).json;
  assert.equal((info as { pid: number }).pid, fresh.pid);
  await fresh.kill();
  assert.equal(contentOf(site.restore('r')), contentOf(app.path));
  assert.ok(lstatSync(site.socket).isSocket(), 'a killed daemon leaves its socket');
  const last = await site.start('control socket listening');
  await last.stop();
  assert.throws(() => lstatSync(site.socket), { code: 'ENOENT' });
});

test('W-1 what happens between stop and start is not lost, although the WAL is emptied', async (t) => {
  const site = new Site(t, ONE);
  const app = new AppDatabase(t, join(site.folder, 'app.db'));
  const daemon = await site.start('control socket listening');
  assert.equal(site.run('sync', '-wait', app.path).status, 0);
  app.insert(3);
  assert.match(
    site.run('stop', app.path).stdout,
    /^status: stopped\n.*\nstate: stopped\ntxid: 2\n/,
  );
  assert.equal(contentOf(site.restore('r')), contentOf(app.path), 'stop syncs first');
  app.insert(200);
  app.checkpoint('TRUNCATE');
  assert.equal(app.walBytes(), 0, 'no lock is left');
  app.insert(1);
  assert.match(
    site.run('start', app.path).stdout,
    /^status: started\n.*\nstate: running\ntxid: 2\n/,
  );
  assert.equal(site.run('sync', '-wait', app.path).status, 0);
  await daemon.kill();
  assert.equal(contentOf(site.restore('r')), contentOf(app.path));
});

/** Numbers in table `n` of a database. */
function numbersOf(path: string): Set<unknown> {
  using database = new DatabaseSync(path, { readOnly: true });
  return new Set(
    database
      .prepare('SELECT n FROM acknowledged')
      .all()
      .map(({ n }) => n),
  );
}

test('E9 what was waited for is in the replica, also when the daemon is killed and started again', async (t) => {
  const site = new Site(
    t,
    'dbs:',
    '- path: FOLDER/app.db',
    '  replicas: [{ path: FOLDER/r }, { path: FOLDER/q }]',
  );
  const app = new AppDatabase(t, join(site.folder, 'app.db'));
  app.exec('CREATE TABLE acknowledged (n INTEGER PRIMARY KEY)');
  const acknowledged: number[] = [];
  let next = 0;
  const client = async (): Promise<void> => {
    for (;;) {
      const number = ++next;
      app.exec(`INSERT INTO acknowledged VALUES (${number})`);
      try {
        const path = number % 2 === 0 ? '/wait' : '/sync';
        const answer = await ask(site.socket, 'POST', path, { path: app.path, wait: true });
        if (answer.status === 200) acknowledged.push(number);
      } catch {
        // Killed in the middle: nothing was promised.
        return;
      }
    }
  };
  for (let run = 0; run < 3; run++) {
    const before = acknowledged.length;
    const daemon = await site.start('control socket listening');
    const clients = Array.from({ length: 8 }, () => client());
    await waitFor(() => acknowledged.length > before + 20, { what: 'answers' });
    await daemon.kill();
    await Promise.all(clients);
    for (const replica of ['r', 'q']) {
      const found = numbersOf(site.restore(replica));
      const missing = acknowledged.filter((number) => !found.has(number));
      assert.deepEqual(missing, [], `${replica} after ${acknowledged.length} answers`);
    }
  }
});

test('OPS-14 a daemon that is frozen between calls makes each call durable', async (t) => {
  const site = new Site(t, ONE);
  const app = new AppDatabase(t, join(site.folder, 'app.db'));
  const daemon = await site.start('control socket listening');
  for (let round = 0; round < 3; round++) {
    daemon.signal('SIGSTOP');
    app.insert(2);
    const call = ask(site.socket, 'POST', '/sync', { path: app.path, wait: true });
    daemon.signal('SIGCONT');
    assert.equal((await call).status, 200);
    daemon.signal('SIGSTOP');
    assert.equal(contentOf(site.restore('r')), contentOf(app.path));
  }
});

test('register and unregister: a database comes and goes, its backup stays', async (t) => {
  const site = new Site(t);
  const daemon = await site.start('control socket listening');
  const app = new AppDatabase(t, join(site.folder, 'new.db'));
  const url = `file://${site.folder}/r`;
  assert.equal(site.run('list').stdout, 'No databases configured\n');
  assert.match(site.run('register', '-replica', url, app.path).stdout, /^status: registered\n/);
  assert.match(
    site.run('register', '-replica', `${url}2`, app.path).stdout,
    /^status: already registered\n/,
  );
  const twin = site.run('register', '-replica', url, join(site.folder, 'twin.db'));
  assert.equal(twin.status, 1);
  assert.match(
    twin.stdout,
    /^Error: register failed: failed to register database: .* share replica/,
  );
  app.insert(4);
  const gone = site.run('unregister', app.path);
  assert.match(gone.stdout, /^status: unregistered\ndb_path: .*\nfinal_txid: [1-9]\d*\nsocket: /);
  assert.equal(contentOf(site.restore('r')), contentOf(app.path), 'with a last sync');
  app.checkpoint('TRUNCATE');
  assert.equal(app.walBytes(), 0);
  await daemon.stop();
  assert.doesNotMatch(daemon.log, /level=(WARN|ERROR) (?!msg="no databases specified)/);
});

test('OPS-22 a store that accepts and never answers holds up no other database, no report and not the end', async (t) => {
  const held = createServer(() => undefined);
  await new Promise<void>((done) => void held.listen(0, '127.0.0.1', done));
  t.after(() => held.close());
  const address = held.address();
  assert.ok(typeof address === 'object' && address !== null);
  const site = new Site(
    t,
    'shutdown-sync-timeout: 1s',
    'dbs:',
    '- path: FOLDER/app.db',
    '  replica: { path: FOLDER/r }',
    '- path: FOLDER/stuck.db',
    '  replica:',
    `    { type: s3, bucket: b, path: p, region: x, endpoint: 'http://127.0.0.1:${address.port}', access-key-id: k, secret-access-key: ${makeSecret('S3 key')} }`,
  );
  const [app, stuck] = ['app.db', 'stuck.db'].map(
    (name) => new AppDatabase(t, join(site.folder, name)),
  );
  assert.ok(app !== undefined && stuck !== undefined);
  const daemon = await site.start('initialized db');
  const waiting = ask(site.socket, 'POST', '/sync', { path: stuck.path, wait: true, timeout: 2 });
  assert.equal(
    (await ask(site.socket, 'POST', '/sync', { path: app.path, wait: true })).status,
    200,
  );
  assert.equal((await ask(site.socket, 'POST', '/sync', { path: stuck.path })).status, 200);
  const [, listed] = site.run('list').stdout.split('\n');
  assert.equal(listed, `${stuck.path} [replicating] (last sync: never)`);
  assert.equal((await waiting).status, 500);
  const stop = site.run('stop', '-timeout', '1', stuck.path);
  assert.match(stop.stdout, /^Error: stop failed: close database: /);
  assert.match(site.run('list').stdout, /stuck\.db \[stopped\]/);
  await daemon.stop();
  assert.equal(contentOf(site.restore('r')), contentOf(app.path));
});

test('one broken file in a watched folder disturbs no other', async (t) => {
  const site = new Site(
    t,
    'dbs: [{ dir: FOLDER/d, pattern: "*.db", recursive: true, watch: true, replica: { path: FOLDER/r } }]',
  );
  mkdirSync(join(site.folder, 'd'));
  const daemon = await site.start('count=0 watch=true');
  writeFileSync(join(site.folder, 'd/broken.db'), `SQLite format 3\0${'garbage '.repeat(1000)}`);
  mkdirSync(join(site.folder, 'd/sub'));
  const app = new AppDatabase(t, join(site.folder, 'd/sub/good.db'));
  await waitFor(() => daemon.log.includes(`path=${app.path}`), { what: 'the good one' });
  app.insert(3);
  assert.equal(site.run('sync', '-wait', app.path).status, 0);
  assert.match(site.run('sync', '-wait', join(site.folder, 'd/broken.db')).stdout, /^Error: sync/);
  await daemon.stop();
  assert.equal(contentOf(site.restore('r/sub/good.db')), contentOf(app.path));
});
