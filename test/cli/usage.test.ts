import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sandbox } from './sandbox.ts';

const COMMANDS = ['databases', 'ltx', 'replicate', 'reset', 'restore', 'status', 'version'];

test('the main help names every command and tells success from a missing command', (context) => {
  const { run } = sandbox(context);
  for (const [args, code] of [
    [['help'], 0],
    [['-x', '-h'], 0],
    [[], 1],
    [['-x'], 1],
  ] as const) {
    const done = run(...args);
    assert.equal(done.code, code, args.join(' '));
    assert.equal(done.stderr, '');
    for (const name of COMMANDS) assert.match(done.stdout, new RegExp(`^ +${name} `, 'm'));
    assert.doesNotMatch(done.stdout, /^ +wal /m);
  }
});

test('an unknown command is one line on stderr', (context) => {
  const { run } = sandbox(context);
  assert.deepEqual(run('snapshoot'), {
    code: 1,
    stdout: '',
    stderr: 'Error: litestream snapshoot: unknown command\n',
  });
});

test('asking a command for help shows its flags on stdout and succeeds', (context) => {
  const { run, folder } = sandbox(context);
  for (const name of COMMANDS) {
    const done = run(name, '-h');
    assert.equal(done.code, 0, name);
    assert.equal(done.stderr, '');
    assert.ok(done.stdout.startsWith(`usage: litestream ${name}`), done.stdout);
  }
  assert.ok(run('status', '-h').stdout.includes(`(default ${folder}/absent.yml)`));
});

test('a wrong flag is reported twice on stderr, with the usage on stdout', (context) => {
  const { run } = sandbox(context);
  const done = run('ltx', '-level', '10', 'x');
  const text = 'invalid value "10" for flag -level: level must be between 0 and 9';
  assert.equal(done.code, 1);
  assert.equal(done.stderr, `${text}\nError: ${text}\n`);
  assert.ok(done.stdout.startsWith('usage: litestream ltx'));
});

const USAGE_ERRORS: readonly (readonly [args: readonly string[], stderr: string])[] = [
  [['ltx'], 'database path or replica URL required\nTry: litestream ltx /path/to/db'],
  [['ltx', ''], 'database path or replica URL required\nTry: litestream ltx /path/to/db'],
  [['reset'], 'database path required\nTry: litestream reset /path/to/db'],
  [
    ['restore', 's3://b/p'],
    '-o is required when restoring from a replica URL\nTry: litestream restore -o /path/to/db s3://b/p',
  ],
  [['restore', '/a', '/b'], 'too many arguments'],
  [['databases', '/a'], 'too many arguments'],
  [['restore', '-integrity-check', 'x', 'file:///r'], 'invalid -integrity-check value: x'],
  [
    ['restore', '-timestamp', '2026-01-01', 'file:///r'],
    'invalid -timestamp, must specify in ISO 8601 format (e.g. 2000-01-01T00:00:00Z)',
  ],
  [['ltx', '-config', 'c.yml', 'file:///r'], 'cannot specify a replica URL and the -config flag'],
  [['replicate', '/x.db'], 'must specify at least one replica URL for /x.db'],
  [
    ['replicate', '/x.db', 'file:///r', '-once'],
    'flag "-once" must be positioned before DB_PATH and REPLICA_URL arguments',
  ],
  [
    ['replicate', '-once', '-exec', 'true', '/x.db', 'file:///r'],
    'cannot specify -once flag with -exec',
  ],
  [
    ['replicate', '-force-snapshot', '/x.db', 'file:///r'],
    'cannot specify -force-snapshot flag without -once',
  ],
];
for (const [args, stderr] of USAGE_ERRORS) {
  test(`litestream ${args.join(' ')}: ${stderr.split('\n')[0]}`, (context) => {
    const done = sandbox(context).run(...args);
    assert.deepEqual(done, { code: 1, stdout: '', stderr: `Error: ${stderr}\n` });
  });
}

test('the former name of ltx warns and does the same', (context) => {
  const { run } = sandbox(context);
  const done = run('wal', 'file:///none');
  assert.equal(done.code, 0);
  assert.equal(done.stdout, run('ltx', 'file:///none').stdout);
  assert.match(done.stderr, /^Warning: 'wal' command is deprecated/);
});

test('a missing configuration is named with its absolute path', (context) => {
  const { run, folder } = sandbox(context);
  for (const args of [['replicate'], ['databases'], ['status'], ['ltx', 'x'], ['restore', 'x']]) {
    const done = run(...args);
    assert.deepEqual(done, {
      code: 1,
      stdout: '',
      stderr: `Error: config file not found: ${folder}/absent.yml\n`,
    });
  }
});

test('databases and status read a configuration, and warn about wrong keys on stderr', (context) => {
  const { run, folder } = sandbox(context);
  writeFileSync(
    join(folder, 'absent.yml'),
    'dbs: [{path: a.db, colour: blue, replica: {path: r}}, {path: /b.db, replicas: [{url: "s3://b/p"}]}]\n',
  );
  const listed = run('databases', '-json');
  assert.equal(listed.code, 0);
  assert.deepEqual(JSON.parse(listed.stdout), [
    { path: join(folder, 'a.db'), replica: 'file' },
    { path: '/b.db', replica: 's3' },
  ]);
  assert.match(
    listed.stderr,
    /level=WARN msg="ignoring unknown configuration key" key=dbs\[0\]\.colour\n$/,
  );
  writeFileSync(join(folder, 'a.db'), '');
  const status = run('status', 'a.db');
  assert.match(status.stdout, /^database .*\n\S+a\.db +not initialized +- +0 B\n$/);
});

test('reset removes the local files of a database and nothing else', (context) => {
  const { run, folder } = sandbox(context);
  const database = join(folder, 'app.db');
  const meta = join(folder, '.app.db-litestream');
  assert.equal(run('reset', 'app.db').stderr, `Error: database does not exist: ${database}\n`);
  writeFileSync(database, 'kept');
  assert.equal(
    run('reset', 'app.db').stdout,
    `No local state to reset for ${database}\nMeta directory does not exist: ${meta}\n`,
  );
  mkdirSync(join(meta, 'ltx', '0'), { recursive: true });
  const file = join(meta, 'ltx/0/0000000000000001-0000000000000001.ltx');
  writeFileSync(file, '');
  assert.equal(
    run('reset', '-dry-run', `sqlite://${database}`).stdout,
    `Dry run: local Litestream state would be reset for: ${database}\nWould remove: ${meta}/ltx\n` +
      `Files that would be removed:\n  ${file}\nNo files were removed.\n`,
  );
  const done = run('reset', 'app.db').stdout.split('\n');
  assert.equal(done.length, 6);
  assert.equal(done[1], `Removing: ${meta}/ltx`);
  assert.match(
    run('reset', '-dry-run', 'app.db').stdout,
    /No local LTX files would be removed\.\n$/,
  );
});
