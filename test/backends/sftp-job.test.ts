import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import { createSftpClient } from '../../src/storage/providers/sftp/index.ts';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import { Daemon, OURS, runProgram } from '../support/program.ts';
import { filesOf, lastTxid } from '../support/replica-folder.ts';
import { startAsyncssh, startSshd } from '../support/servers/index.ts';
import { sftpLocation } from '../support/servers/sftp-location.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { remoteJobTests } from './remote-job.ts';
import { guarded } from '../support/guarded.ts';

remoteJobTests('sftp', async (t) => {
  const sshd = await startSshd(t);
  if (sshd === undefined) return undefined;
  const location = sftpLocation(sshd, { path: `${sshd.root}/some/path` });
  return {
    server: sshd.server,
    replica: {
      type: 'sftp',
      host: location.host,
      user: location.user,
      'key-path': location.keyPath,
      'host-key': location.hostKey,
      path: location.path,
    },
    open: () => Promise.resolve(guarded(createSftpClient(location, { clock: systemClock }))),
  };
});

/** A configuration with one database; `replica` are lines of YAML. */
function configure(folder: string, replica: readonly string[]): string {
  const path = join(folder, 'litestream.yml');
  const lines = replica.map((line) => `      ${line}\n`).join('');
  writeFileSync(
    path,
    `logging: { level: debug }
dbs:
  - path: ${folder}/app.db
    monitor-interval: 50ms
    replica:
      sync-interval: 50ms
${lines}l0-retention: 1h
`,
  );
  return path;
}

test('sftp: a login by password in the URL works, and the password is in no log line', async (t) => {
  const ssh = await startAsyncssh(t);
  if (ssh === undefined) return;
  const folder = tempDir(t);
  const login = `${ssh.user}:${encodeURIComponent(ssh.password)}`;
  const config = configure(folder, [`url: sftp://${login}@127.0.0.1:${ssh.port}/some/path`]);
  const app = new AppDatabase(t, join(folder, 'app.db'));
  const daemon = new Daemon(t, OURS, 'replicate', '-config', config);
  const replica = join(ssh.root, 'some/path');
  app.insert();
  await waitFor(() => lastTxid(replica) >= 1, { what: `an upload:\n${daemon.log}` });
  await ssh.server.restart();
  const before = lastTxid(replica);
  app.insert();
  await waitFor(() => lastTxid(replica) > before, { what: `an upload:\n${daemon.log}` });
  await daemon.stop();
  assert.match(daemon.log, /sftp host key not verified/);
  const output = join(folder, 'out.db');
  const source = join(folder, 'app.db');
  const run = runProgram(OURS, 'restore', '-config', config, '-o', output, source);
  assert.equal(run.status, 0, run.stderr);
  assert.equal(integrityOf(output), 'ok');
  assert.equal(contentOf(output), contentOf(source));
  for (const text of [daemon.log, run.stdout, run.stderr])
    for (const secret of [ssh.password, encodeURIComponent(ssh.password)])
      assert.ok(!text.includes(secret), 'no password in what is printed');
});

test('sftp: BKD-20 the lost answer to a rename costs nothing', async (t) => {
  const ssh = await startAsyncssh(t);
  if (ssh === undefined) return;
  const folder = tempDir(t);
  const config = configure(folder, [
    'type: sftp',
    `host: 127.0.0.1:${ssh.port}`,
    `user: ${ssh.user}`,
    `password: ${JSON.stringify(ssh.password)}`,
    `host-key: ${ssh.hostKey}`,
    'path: /db',
  ]);
  const app = new AppDatabase(t, join(folder, 'app.db'));
  const daemon = new Daemon(t, OURS, 'replicate', '-config', config);
  const replica = join(ssh.root, 'db');
  await waitFor(() => lastTxid(replica) >= 1, { what: `a first upload:\n${daemon.log}` });
  const trigger = `${ssh.root}.lose-rename`;
  for (let round = 0; round < 3; round += 1) {
    writeFileSync(trigger, '');
    const before = lastTxid(replica);
    app.insert();
    await waitFor(() => !existsSync(trigger), { what: `a lost answer:\n${daemon.log}` });
    app.insert();
    await waitFor(() => lastTxid(replica) > before + 1, {
      what: `an upload after it:\n${daemon.log}`,
    });
  }
  await daemon.stop();
  assert.doesNotMatch(daemon.log, /level=ERROR/);
  const names = readdirSync(join(replica, 'ltx/0'));
  assert.deepEqual(
    names.toSorted(),
    filesOf(replica).map(({ name }) => name),
    'nothing temporary stays',
  );
  const output = join(folder, 'out.db');
  const run = runProgram(OURS, 'restore', '-config', config, '-o', output, join(folder, 'app.db'));
  assert.equal(run.status, 0, run.stderr);
  assert.equal(contentOf(output), contentOf(join(folder, 'app.db')));
});

test('sftp: BKD-20 a foreign file at the next TXID is an error, and is kept', async (t) => {
  const sshd = await startSshd(t);
  if (sshd === undefined) return;
  const folder = tempDir(t);
  const replica = join(sshd.root, 'db');
  const config = configure(folder, [
    'type: sftp',
    `host: 127.0.0.1:${sshd.port}`,
    `user: ${sshd.user}`,
    `key-path: ${sshd.keyPath}`,
    `path: ${replica}`,
  ]);
  const app = new AppDatabase(t, join(folder, 'app.db'));
  const daemon = new Daemon(t, OURS, 'replicate', '-config', config);
  await waitFor(() => lastTxid(replica) >= 1, { what: `a first upload:\n${daemon.log}` });
  const next = (lastTxid(replica) + 1).toString(16).padStart(16, '0');
  const foreign = join(replica, 'ltx/0', `${next}-${next}.ltx`);
  writeFileSync(foreign, 'LTX1');
  app.insert();
  await waitFor(() => daemon.log.includes('another writer'), {
    what: `an error that names the conflict:\n${daemon.log}`,
  });
  assert.equal(readFileSync(foreign, 'utf8'), 'LTX1');
});

test('sftp: a replica of v0.3.x restores', async (t) => {
  const sshd = await startSshd(t);
  if (sshd === undefined) return;
  const folder = tempDir(t);
  const fixture = join(
    import.meta.dirname,
    '../vectors/replicas/v0.3.13-to-v0.5.17-p512/generations',
  );
  for (const copy of [join(sshd.root, 'old/generations'), join(folder, 'old/generations')]) {
    cpSync(fixture, copy, { recursive: true });
    // A generation's age is that of its files.
    const names = readdirSync(copy, { recursive: true, encoding: 'utf8' });
    for (const [at, name] of names.toSorted().entries())
      utimesSync(join(copy, name), 1_700_000_000 + at, 1_700_000_000 + at);
  }
  const config = configure(folder, [
    'type: sftp',
    `host: 127.0.0.1:${sshd.port}`,
    `user: ${sshd.user}`,
    `key-path: ${sshd.keyPath}`,
    `path: ${sshd.root}/old`,
  ]);
  const local = join(folder, 'local.db');
  const remote = join(folder, 'remote.db');
  const url = `file://${folder}/old`;
  const here = runProgram(OURS, 'restore', '-o', local, url);
  assert.equal(here.status, 0, here.stderr);
  const args = ['-config', config, '-o', remote, join(folder, 'app.db')];
  const there = runProgram(OURS, 'restore', ...args);
  assert.equal(there.status, 0, there.stderr);
  assert.equal(contentOf(remote), contentOf(local));
});
