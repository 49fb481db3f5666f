import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { Daemon, inFolder } from '../support/program.ts';
import { waitFor } from '../support/wait.ts';
import { sandbox } from './sandbox.ts';

/** A WAL database with some rows; the connection stays open, as an application's would. */
function application(path: string, rows: number): DatabaseSync {
  const database = new DatabaseSync(path);
  database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x)');
  insert(database, rows);
  return database;
}

function insert(database: DatabaseSync, rows: number): void {
  const statement = database.prepare('INSERT INTO t VALUES (randomblob(100))');
  for (let row = 0; row < rows; row++) statement.run();
}

function content(path: string): unknown {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return database.prepare("SELECT count(*) AS n, group_concat(hex(x), '') AS t FROM t").get();
  } finally {
    database.close();
  }
}

function messages(log: string): string[] {
  return Array.from(log.matchAll(/ msg=("[^"]*"|\S+)/g), ([, text = '']) =>
    text.replaceAll('"', ''),
  );
}

test('one pass replicates, lists and restores; a second one changes nothing', (context) => {
  const { run, folder } = sandbox(context);
  using database = application(join(folder, 'app.db'), 50);
  assert.ok(database.isOpen);
  const done = run('replicate', '-once', 'app.db', `file://${folder}/replica`);
  assert.equal(done.code, 0, done.stderr);
  assert.deepEqual(messages(done.stdout), [
    'litestream',
    'initialized db',
    'replicating to',
    'syncing database',
    'one-shot replication complete',
    'replication complete, litestream shutting down',
    'litestream shut down',
  ]);
  const listed = run('ltx', '-json', '-level', 'all', `file://${folder}/replica`);
  assert.equal((JSON.parse(listed.stdout) as unknown[]).length, 1);
  assert.equal(run('replicate', '-once', 'app.db', `file://${folder}/replica`).code, 0);
  assert.equal(
    run('ltx', '-json', '-level', 'all', `file://${folder}/replica`).stdout,
    listed.stdout,
  );
  const restored = run('restore', '-o', 'new/out.db', `file://${folder}/replica`);
  assert.deepEqual(restored, { code: 0, stdout: '', stderr: '' });
  assert.deepEqual(content(join(folder, 'new/out.db')), content(join(folder, 'app.db')));
});

test('OPS-17 a child shorter than any poll is backed up, and its status decides the exit code', (context) => {
  const { run, folder } = sandbox(context);
  using database = application(join(folder, 'app.db'), 10);
  assert.ok(database.isOpen);
  const url = `file://${folder}/replica`;
  const failed = run('replicate', '-exec', `sh -c 'echo from the child; exit 3'`, 'app.db', url);
  assert.equal(failed.code, 1);
  assert.equal(failed.stderr, 'Error: exit status 3\n');
  assert.ok(failed.stdout.includes('from the child\n'));
  assert.equal(run('restore', '-o', 'out.db', url).code, 0);
  assert.deepEqual(content(join(folder, 'out.db')), content(join(folder, 'app.db')));
  const surroundings = run('replicate', '-exec', 'env', 'app.db', url);
  assert.match(surroundings.stdout, /^PATH=/m);
  assert.doesNotMatch(surroundings.stdout, /NODE_/, 'settings of this process are not passed on');
  const absent = run('replicate', '-exec', 'no-such-command-x', 'app.db', url);
  assert.equal(
    absent.stderr,
    'Error: cannot start exec command: exec: "no-such-command-x": executable file not found in $PATH\n',
  );
  const empty = run('replicate', '-exec', '""', 'app.db', url);
  assert.equal(empty.stderr, 'Error: cannot start exec command: exec: no command\n');
});

test('a signal stops replication after a final sync, with status 0', async (context) => {
  const { run, folder } = sandbox(context);
  using database = application(join(folder, 'app.db'), 10);
  const url = `file://${folder}/replica`;
  const daemon = new Daemon(context, inFolder(folder), 'replicate', 'app.db', url);
  await daemon.line(/replicating to/);
  insert(database, 7);
  await daemon.stop();
  assert.equal(run('restore', '-o', 'out.db', url).code, 0);
  assert.deepEqual(content(join(folder, 'out.db')), content(join(folder, 'app.db')));
});

test('OPS-18 a signal reaches the child, and a child that then fails loses nothing', async (context) => {
  const { run, folder } = sandbox(context);
  using database = application(join(folder, 'app.db'), 10);
  const url = `file://${folder}/replica`;
  const script = `trap 'exit 143' TERM; touch ready; while :; do sleep 0.05; done`;
  writeFileSync(join(folder, 'child.sh'), script);
  const args = ['replicate', '-exec', 'sh child.sh', 'app.db', url];
  const daemon = new Daemon(context, inFolder(folder), ...args);
  await waitFor(() => existsSync(join(folder, 'ready')), { what: 'the child' });
  insert(database, 5);
  daemon.signal('SIGTERM');
  await daemon.ended();
  assert.equal(daemon.status, 1);
  const output = daemon.log;
  assert.ok(output.includes('msg="signal received, litestream shutting down" signal=terminated'));
  assert.ok(output.endsWith('Error: cannot wait for exec process: exit status 143\n'), output);
  assert.equal(run('restore', '-o', 'out.db', url).code, 0);
  assert.deepEqual(content(join(folder, 'out.db')), content(join(folder, 'app.db')));
});

test('what cannot be replicated is one clear line', (context) => {
  const { run, folder } = sandbox(context);
  mkdirSync(join(folder, 'folder.db'));
  writeFileSync(join(folder, 'text.db'), 'this is not a database, but it is long enough');
  const url = `file://${folder}/replica`;
  const cases: readonly (readonly [args: readonly string[], stderr: RegExp])[] = [
    [
      ['folder.db', url],
      /^Error: database path is a directory: .*folder\.db\. Give the path .*\n$/,
    ],
    [['-once', 'text.db', url], /^Error: sync database .*text\.db: .*file is not a database.*\n$/],
    [
      ['-once', 'no.db', url],
      /^Error: sync replica for .*no\.db: no position, waiting for data\n$/,
    ],
    [['a.db', '/r'], /^Error: replica url scheme required: \/r\n$/],
    [['a.db', 'bogus://r'], /^Error: unknown replica type in config: "bogus"\n$/],
  ];
  for (const [args, stderr] of cases) {
    const done = run('replicate', ...args);
    assert.equal(done.code, 1, args.join(' '));
    assert.match(done.stderr, stderr);
  }
  assert.equal(readFileSync(join(folder, 'text.db'), 'utf8').slice(0, 7), 'this is');
});
