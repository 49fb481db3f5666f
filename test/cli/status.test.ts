import assert from 'node:assert/strict';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { sandbox } from './sandbox.ts';

test('status -remote says where the replica stands, and goes on without one', (context) => {
  const { run, folder } = sandbox(context);
  using database = new DatabaseSync(join(folder, 'app.db'));
  database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x)');
  writeFileSync(join(folder, 'absent.yml'), `dbs: [{path: app.db, replica: {path: ${folder}/r}}]`);
  assert.equal(run('replicate', '-once').code, 0);
  const local = run('status');
  const remote = run('status', '-remote');
  assert.equal(remote.stderr, '');
  const [header = '', row = ''] = remote.stdout.split('\n');
  assert.match(header, /^database +status +local txid +wal size +replica txid +lag$/);
  assert.match(row, /^\S+\/app\.db +ok +0{15}1 +\S+ \S+ +0{15}1 +0s$/);
  assert.match(local.stdout.split('\n')[0] ?? '', /wal size$/, 'without the flag nothing is new');
  const json: unknown = JSON.parse(run('status', '-remote', '-json').stdout);
  assert.deepEqual(Object.keys((json as object[])[0] ?? {}), [
    'database',
    'status',
    'local_txid',
    'wal_size',
    'replica_txid',
    'lag',
    'recovery',
  ]);
  const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`;
  assert.match(
    remote.stdout,
    new RegExp(`\n\n\\S+/app\\.db: restorable from ${time} to ${time}, no snapshot\n`),
  );
  assert.match(remote.stdout, new RegExp(`\n {2}level 0: 1 restore point since ${time}\n$`));
  renameSync(join(folder, 'r'), join(folder, 'gone'));
  assert.match(run('status', '-remote').stdout, / - +\d+s\n$/);
  writeFileSync(join(folder, 'r'), 'not a folder');
  const failed = run('status', '-remote');
  assert.deepEqual([failed.code, / - +-\n$/.test(failed.stdout)], [0, true], failed.stdout);
  assert.match(failed.stderr, /msg="cannot list replica" path=\S+\/app\.db error=/);
});

test('a folder without databases is an empty list, and nothing to replicate', (context) => {
  const { run, folder } = sandbox(context);
  mkdirSync(join(folder, 'empty'));
  writeFileSync(
    join(folder, 'absent.yml'),
    `dbs: [{dir: ${folder}/empty, pattern: '*.db', replica: {path: ${folder}/r}}]`,
  );
  for (const command of ['databases', 'status']) {
    assert.deepEqual(run(command, '-json'), { code: 0, stdout: '[]\n', stderr: '' });
  }
  const refused = run('replicate', '-once');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /^Error: no SQLite databases found in directory .*empty with /);
});
