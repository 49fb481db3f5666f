import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { AppDatabase } from '../support/app-database.ts';
import { Daemon, OURS, runProgram } from '../support/program.ts';
import { filesOf } from '../support/replica-folder.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';

test('replicas of one database keep snapshots by their own retention and interval, and both restore', async (t) => {
  const folder = tempDir(t);
  const path = join(folder, 'app.db');
  const [brief, long] = [join(folder, 'brief'), join(folder, 'long')];
  const config = join(folder, 'c.yml');
  writeFileSync(
    config,
    `levels: [{interval: 100ms}]
l0-retention: 100ms
l0-retention-check-interval: 100ms
snapshot: {interval: 24h, retention: 24h}
dbs:
  - path: ${path}
    monitor-interval: 20ms
    replicas:
      - {name: brief, path: ${brief}, sync-interval: 50ms, snapshot-interval: 100ms, retention: 300ms}
      - {name: long, path: ${long}, sync-interval: 50ms}
`,
  );
  const app = new AppDatabase(t, path);
  const daemon = new Daemon(t, OURS, 'replicate', '-config', config);
  await waitFor(
    () => {
      daemon.assertRunning();
      app.insert();
      const [start] = filesOf(long, 1);
      const [oldest, level1] = [filesOf(brief, 9)[0], filesOf(brief, 1)[0]];
      if (start === undefined || oldest === undefined || level1 === undefined) return false;
      return oldest.maxTxid > start.maxTxid && level1.minTxid > start.maxTxid;
    },
    { what: 'snapshots of one replica to expire', stepMs: 50, timeoutMs: 60_000 },
  );
  // Local files go although only one of the two has left them behind by retention.
  const [start] = filesOf(long, 1);
  assert.ok(start !== undefined);
  const local = join(folder, '.app.db-litestream');
  await waitFor(() => (filesOf(local, 0)[0]?.minTxid ?? '') > start.maxTxid, {
    what: 'local files to go',
  });
  await daemon.stop();
  // Midnight may have passed.
  assert.ok(filesOf(long, 9).length <= 2, `${filesOf(long, 9).length} snapshots`);
  assert.equal(filesOf(long, 1)[0]?.name, start.name, 'history of the other is whole');
  assert.equal(Number(start.minTxid), 1);
  const own = [...daemon.log.matchAll(/msg="replica has its own snapshot setting" (.*)/g)];
  assert.deepEqual(
    own.map(([, attributes]) => attributes),
    [
      'db=app.db replica=brief key=retention value=300ms',
      'db=app.db replica=brief key=snapshot-interval value=100ms',
    ],
  );
  for (const [name, hasStart] of [
    ['brief', false],
    ['long', true],
  ] as const) {
    const output = join(folder, `${name}.db`);
    const args = ['-config', config, '-replica', name, '-o', output];
    const done = runProgram(OURS, 'restore', ...args, '-integrity-check', 'full', path);
    assert.equal(done.status, 0, done.stderr);
    const early = join(folder, `${name}-early.db`);
    const old = ['-config', config, '-replica', name, '-o', early, '-txid', start.maxTxid];
    runProgram(OURS, 'restore', ...old, path);
    assert.equal(existsSync(early), hasStart, `the start of ${name}`);
  }
});

const ENTRY = 'read-replicas: [{name: reporting, path: copy.db}]';

test('read replicas are checked, named in a warning, and their commands say that they come later', (t) => {
  const folder = tempDir(t);
  const config = join(folder, 'c.yml');
  const path = join(folder, 'app.db');
  const text = `dbs: [{path: ${path}, replica: {path: ${folder}/r}, ${ENTRY.replace('copy', `${folder}/copy`)}}]`;
  writeFileSync(config, text);
  const run = (...args: string[]): ReturnType<typeof runProgram> => runProgram(OURS, ...args);
  const listed = run('databases', '-config', config);
  assert.equal(listed.status, 0);
  assert.match(
    listed.stderr,
    /level=WARN .*key=dbs\[0\]\.read-replicas .*not available in this version/,
  );
  const later = (action: string): string =>
    `Error: read-replica ${action}: read replicas are not available in this version\n` +
    'Try: litestream restore -f -o /path/to/copy.db /path/to/db\n';
  for (const action of ['status', 'sync', 'promote']) {
    const done = run('read-replica', action, '-json', 'reporting');
    assert.deepEqual(done, { status: 1, stdout: '', stderr: later(action) });
    const named = run('read-replica', action, '-config', config, 'reporting');
    assert.equal(named.status, 1);
    assert.ok(named.stderr.endsWith(later(action)), named.stderr);
    const unknown = run('read-replica', action, '-config', config, 'nobody');
    const message = `Error: read-replica ${action} failed: read replica not found: nobody\n`;
    assert.ok(unknown.stderr.endsWith(message), unknown.stderr);
  }
  assert.match(run('read-replica').stderr, /expected status, sync or promote/);
  assert.match(run('read-replica', 'sync').stderr, /read replica name required/);
  assert.match(run('read-replica', '-h').stdout, /^usage: litestream read-replica status/);
  writeFileSync(config, text.replace('name: reporting', 'name: ""'));
  assert.equal(
    run('replicate', '-once', '-config', config).stderr,
    `Error: dbs[${path}].read-replicas[0]: name is required\n`,
  );
});
