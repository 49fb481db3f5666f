/** What people ran into on the command line, and what they are told instead. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { Daemon, OURS } from '../support/program.ts';
import { waitFor } from '../support/wait.ts';
import { type Outcome, type Sandbox, sandbox } from './sandbox.ts';

/** A sandbox with a database and a configuration that has two replicas. */
function scene(context: TestContext): Sandbox & { readonly app: DatabaseSync } {
  const box = sandbox(context);
  const { folder } = box;
  const app = new DatabaseSync(join(folder, 'app.db'));
  context.after(() => app.isOpen && app.close());
  app.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x); INSERT INTO t VALUES (1)');
  writeFileSync(
    join(folder, 'absent.yml'),
    `socket: {enabled: true, path: ${folder}/s}
shutdown-sync-timeout: 1s
dbs: [{path: ${folder}/app.db, replicas: [{path: ${folder}/r1}, {path: ${folder}/r2, name: second}]}]
`,
  );
  return { ...box, app };
}

function rows(path: string): unknown {
  using database = new DatabaseSync(path);
  return { ...database.prepare('SELECT count(*) AS n, total(x) AS sum FROM t').get() };
}

function succeeded(done: Outcome, what: string): string {
  assert.equal(done.code, 0, `${what}: ${done.stderr}`);
  return done.stdout;
}

test('CFG-01: nothing is replicated in clear where encryption is configured', (context) => {
  const { run, folder } = scene(context);
  writeFileSync(
    join(folder, 'absent.yml'),
    `dbs: [{path: app.db, replica: {path: ${folder}/r, age: {recipients: [age1x]}}}]`,
  );
  const done = run('replicate', '-once');
  assert.equal(done.code, 1);
  assert.match(done.stderr, /^Error: .*age encryption is not currently supported/m);
  assert.equal(existsSync(join(folder, 'r')), false);
});

test('CFG-02: each of several replicas is a full copy, and a broken one does not stop the other', (context) => {
  const { run, folder, app } = scene(context);
  succeeded(run('replicate', '-once'), 'replicate');
  for (const name of ['r1', 'r2']) {
    const output = join(folder, `${name}.db`);
    succeeded(run('restore', '-o', output, `file://${folder}/${name}`), name);
    assert.deepEqual(rows(output), { n: 1, sum: 1 });
  }
  rmSync(join(folder, 'r1'), { recursive: true });
  writeFileSync(join(folder, 'r1'), 'not a folder');
  app.exec('INSERT INTO t VALUES (2)');
  assert.equal(run('replicate', '-once').code, 1, 'a failure is not hidden');
  const output = join(folder, 'again.db');
  succeeded(run('restore', '-replica', 'second', '-o', output, 'app.db'), 'the other');
  assert.deepEqual(rows(output), { n: 2, sum: 3 });
});

test('CFG-03: a misspelt key is warned about by every command, and changes no exit status', (context) => {
  const { run, folder } = scene(context);
  const config = join(folder, 'absent.yml');
  writeFileSync(config, `${readFileSync(config, 'utf8')}snapshot: {retain: 1h}\n`);
  const warning = /level=WARN msg="ignoring unknown configuration key" key=snapshot\.retain/;
  for (const command of ['databases', 'status']) {
    const done = run(command);
    succeeded(done, command);
    assert.match(done.stderr, warning);
    assert.doesNotMatch(done.stdout, /WARN/);
  }
  assert.match(succeeded(run('replicate', '-once'), 'replicate'), warning);
});

test('CFG-05: an unknown parameter of a URL on the command line is warned about', (context) => {
  const { run, folder } = scene(context);
  const done = run('replicate', '-once', 'app.db', `file://${folder}/r?regoin=x`);
  assert.match(succeeded(done, 'replicate'), /level=WARN .*REPLICA_URL parameter=regoin/);
  const listed = run('ltx', `file://${folder}/r?regoin=x`);
  assert.match(succeeded(listed, 'ltx'), /0000000000000001/);
  assert.match(listed.stderr, /level=WARN .*parameter=regoin/);
  const refused = run('replicate', '-once', 'app.db', 'gs://b/p?encryption=on');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /unsupported query parameter "encryption"/);
});

test('CFG-15: a blank command is an error, not a crash', (context) => {
  const { run, folder } = scene(context);
  const config = join(folder, 'absent.yml');
  writeFileSync(config, `${readFileSync(config, 'utf8')}exec: "  "\n`);
  const done = run('replicate');
  assert.equal(done.code, 1);
  assert.match(done.stderr, /^Error: .*exec/m);
  assert.doesNotMatch(done.stderr, /\bat .*\.ts/);
});

test('CFG-08: a flag behind the arguments is named, never ignored', (context) => {
  const { run } = sandbox(context);
  for (const flag of ['-exec', '-once', '--config=x']) {
    const done = run('replicate', '/a.db', 'file:///r', flag, 'x');
    assert.equal(done.code, 1);
    assert.match(done.stderr, new RegExp(`^Error: flag "${flag}" must be positioned before`));
  }
  for (const command of ['ltx', 'restore', 'reset', 'verify']) {
    const done = run(command, '/a.db', '-json');
    assert.deepEqual([done.code, done.stderr], [1, 'Error: too many arguments\n'], command);
  }
});

test('CFG-09: former commands work, or are refused by name', (context) => {
  const { run, folder } = scene(context);
  succeeded(run('replicate', '-once', '-force-snapshot'), 'replicate');
  const wal = run('wal', 'app.db');
  assert.equal(succeeded(wal, 'wal'), run('ltx', 'app.db').stdout);
  assert.match(wal.stderr, /^Warning: 'wal' command is deprecated, please use 'ltx' instead$/m);
  const listed = succeeded(run('snapshots', 'list', `file://${folder}/r1`), 'snapshots');
  assert.match(listed, /0000000000000001/);
  assert.deepEqual(run('generations'), {
    code: 1,
    stdout: '',
    stderr: 'Error: litestream generations: unknown command\n',
  });
});

test('CFG-10: a dry run says what would be restored, of what, and how much is to be fetched', (context) => {
  const { run, folder } = scene(context);
  succeeded(run('replicate', '-once', '-force-snapshot'), 'replicate');
  const plan = JSON.parse(
    succeeded(run('restore', '-dry-run', '-json', '-o', 'x.db', 'app.db'), 'dry run'),
  ) as { max_txid: string; files: { level: number; size: number; timestamp: string }[] };
  assert.equal(plan.max_txid, '0000000000000001');
  const [file] = plan.files;
  assert.ok(file !== undefined && file.size > 0);
  assert.ok(Number.isFinite(Date.parse(file.timestamp)));
  const text = succeeded(run('restore', '-dry-run', '-o', 'x.db', 'app.db'), 'dry run');
  assert.match(text, /^ {2}txid range: 0{15}1 - 0{15}1$/m);
  assert.match(text, /^level +file +min_txid +max_txid +size +timestamp$/m);
  const dry = run('restore', '-dry-run', '-o', 'x.db', 'app.db');
  assert.match(
    dry.stderr,
    /^\nto fetch: 1 file, \S+ k?B\nrestorable from \S+Z to \S+Z, last snapshot \S+Z$/m,
  );
  assert.match(dry.stderr, /^ {2}snapshots: 1 restore point since \S+Z$/m);
  const status = succeeded(run('status', '-remote'), 'status');
  assert.match(status, /app\.db: restorable from \S+Z to \S+Z, last snapshot \S+Z$/m);
  assert.equal(existsSync(join(folder, 'x.db')), false);
  const everything = succeeded(run('ltx', '-level', 'all', 'app.db'), 'ltx');
  assert.match(everything, /^9 +0{15}1 +0{15}1 +\d+ +\d{4}-/m, 'the snapshot');
});

test('CFG-11: help succeeds, JSON is JSON, and what is started or stopped twice is not an error', async (context) => {
  const { run, folder } = scene(context);
  const help = succeeded(run('help'), 'help');
  const names = [...help.matchAll(/^ {4}([a-z]+) /gm)].map(([, name = '']) => name);
  assert.ok(names.length > 15);
  const withJson: string[] = [];
  for (const name of names) {
    const usage = run(name, '-h');
    assert.match(succeeded(usage, name), new RegExp(`^usage: litestream ${name}`));
    assert.equal(usage.stderr, '', name);
    if (/^ {4}-json$/m.test(usage.stdout)) withJson.push(name);
  }
  const daemon = new Daemon(context, OURS, 'replicate', '-config', join(folder, 'absent.yml'));
  await waitFor(() => daemon.log.includes('control socket listening'), { what: 'the socket' });
  await waitFor(() => existsSync(join(folder, 'r2/ltx/0')), { what: 'a first file' });
  const path = join(folder, 'app.db');
  const socket = ['-socket', join(folder, 's'), '-json'];
  const lines: Readonly<Record<string, readonly string[]>> = {
    databases: ['-json'],
    doctor: ['-json', path],
    info: socket,
    list: socket,
    ltx: ['-json', path],
    register: [...socket, '-replica', `file://${folder}/r3`, path],
    restore: ['-json', '-o', join(folder, 'out.db'), path],
    snapshots: ['list', '-json', path],
    start: [...socket, path],
    status: ['-json'],
    sync: [...socket, path],
    verify: ['-json', path],
    stop: [...socket, path],
  };
  assert.deepEqual(withJson.toSorted(), [...Object.keys(lines), 'unregister'].toSorted());
  for (const [name, args] of Object.entries(lines)) {
    const parsed: unknown = JSON.parse(succeeded(run(name, ...args), name));
    assert.equal(typeof parsed, 'object', name);
  }
  for (const name of ['stop', 'stop', 'start', 'start']) {
    succeeded(run(name, '-socket', join(folder, 's'), path), name);
  }
  const gone: unknown = JSON.parse(succeeded(run('unregister', ...socket, path), 'unregister'));
  assert.equal(typeof gone, 'object');
  await daemon.stop();
});
