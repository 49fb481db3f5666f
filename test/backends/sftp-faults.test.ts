import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import { isLitestreamError } from '../../src/lib/errors.ts';
import {
  bytesSource,
  readAll,
  resumableReads,
  type ReplicaClient,
  type SftpLocation,
} from '../../src/storage/index.ts';
import {
  SftpReplicaClient,
  type SftpReplicaOptions,
} from '../../src/storage/providers/sftp/index.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../../src/testing/index.ts';
import {
  Forwarder,
  startAsyncssh,
  startSshd,
  type PasswordSftpServer,
  type SftpServer,
  type SshdOptions,
} from '../support/servers/index.ts';
import { sftpLocation } from '../support/servers/sftp-location.ts';
import { waitFor } from '../support/wait.ts';

interface Bench {
  readonly sshd: SftpServer;
  /** Between client and server. */
  readonly forwarder: Forwarder;
  readonly client: ReplicaClient;
  /** Folder of the replica on the server. */
  readonly replica: string;
}

interface BenchOptions {
  readonly server?: SshdOptions;
  readonly location?: Partial<SftpLocation>;
  readonly client?: Partial<SftpReplicaOptions>;
}

function open(t: TestContext, location: SftpLocation, options: Partial<SftpReplicaOptions> = {}) {
  const client = new SftpReplicaClient(location, { clock: systemClock, ...options });
  t.after(() => client.close());
  return client;
}

async function setUp(t: TestContext, options: BenchOptions = {}): Promise<Bench | undefined> {
  const sshd = await startSshd(t, options.server);
  if (sshd === undefined) return undefined;
  const forwarder = await Forwarder.start(t, sshd.port);
  const host = `127.0.0.1:${forwarder.port}`;
  const location = sftpLocation(sshd, { host, ...options.location });
  const client = open(t, location, options.client);
  return { sshd, forwarder, client, replica: location.path };
}

/** All files below the replica's path. */
function filesIn({ replica }: Bench): string[] {
  if (!existsSync(replica)) return [];
  const entries = readdirSync(replica, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

function passwordLocation(ssh: PasswordSftpServer, path: string): SftpLocation {
  const { port, user, password, hostKey } = ssh;
  const server = { port, user, keyPath: '', hostKeys: [hostKey], root: '/' };
  return { ...sftpLocation(server), password, path };
}

const TEMPORARY = { code: 'ERR_STORAGE_TEMPORARY', retryable: true };

test('sftp: BKD-17 a connection that is lost between two operations is made anew', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, forwarder } = bench;
  for (let n = 1; n <= 3; n += 1) {
    await client.write(fileKey(0, n), bytesSource(ltxLike(500)));
    forwarder.cut();
    assert.equal((await listAll(client, 0)).length, n);
  }
  assert.equal(forwarder.connections, 4);
});

test('sftp: BKD-17 a connection that is lost in the middle of an upload costs nothing', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, forwarder } = bench;
  await client.init();
  const bytes = ltxLike(3_000_000);
  for (const [at, after] of [1_000, 200_000, 2_500_000].entries()) {
    forwarder.cutAfter(after);
    await client.write(fileKey(0, at + 1), chunkedSource(bytes, 100_000));
    assert.deepEqual(await readAll(client, fileKey(0, at + 1)), bytes);
  }
  assert.equal(forwarder.connections, 4, 'each loss costs one connection');
  await client.write(fileKey(0, 9), bytesSource(ltxLike(100)));
  assert.equal(filesIn(bench).length, 4, 'what the broken attempts left is gone');
});

test('sftp: BKD-17 a connection that is lost twice is an error that may be tried again', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, forwarder } = bench;
  await client.init();
  forwarder.cutEvery(300_000);
  const write = client.write(fileKey(0, 1), chunkedSource(ltxLike(3_000_000), 65_536));
  await assert.rejects(write, { ...TEMPORARY, message: /connection lost/ });
  assert.equal(forwarder.connections, 2);
  forwarder.cutAfter(Infinity);
  assert.deepEqual(await listAll(client, 0), []);
  await client.write(fileKey(0, 1), bytesSource(ltxLike(100)));
  assert.equal((await listAll(client, 0)).length, 1);
});

test('sftp: BKD-17 a connection that is lost in the middle of a download is resumed', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, forwarder } = bench;
  const bytes = ltxLike(8_000_000);
  const { size } = await client.write(fileKey(9, 1), bytesSource(bytes));
  const resumed = resumableReads(client, { clock: systemClock });
  forwarder.cutAfter(2_000_000);
  assert.deepEqual(await readAll(resumed, { ...fileKey(9, 1), size }), bytes);
});

test('sftp: every request under way ends when the connection does', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, forwarder } = bench;
  for (let n = 1; n <= 4; n += 1)
    await client.write(fileKey(0, n), bytesSource(ltxLike(4_000_000)));
  forwarder.stall();
  const reads = [1, 2, 3, 4].map((n) => readAll(client, fileKey(0, n)));
  const lists = [0, 1, 2].map((level) => listAll(client, level));
  const all = Promise.allSettled([...reads, ...lists, client.delete([fileKey(5, 1)])]);
  await forwarder.refuse();
  for (const result of await all) {
    assert.equal(result.status, 'rejected');
    assert.ok(isLitestreamError(result.reason, 'ERR_STORAGE_TEMPORARY'), String(result.reason));
  }
  forwarder.resume();
  await forwarder.accept();
  assert.equal((await listAll(client, 0)).length, 4);
});

test('sftp: a server that has gone silent is given up in bounded time, at any moment', async (t) => {
  const bench = await setUp(t, { client: { idleTimeoutMs: 300, connectTimeoutMs: 700 } });
  if (bench === undefined) return;
  const { client, forwarder } = bench;
  await client.write(fileKey(0, 1), bytesSource(ltxLike(100)));
  forwarder.stall();
  const text = { ...TEMPORARY, message: /no connection after 0\.7 s/ };
  await assert.rejects(client.write(fileKey(0, 2), bytesSource(ltxLike(100))), text);
  await assert.rejects(listAll(client, 0), text);
  forwarder.cut();
  forwarder.resume();
  assert.equal((await listAll(client, 0)).length, 1);
});

test('sftp: an abort ends any wait at once', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, forwarder } = bench;
  await client.write(fileKey(0, 1), bytesSource(ltxLike(100)));
  forwarder.stall();
  const controller = new AbortController();
  const { signal } = controller;
  const stalled = [
    client.write(fileKey(0, 2), bytesSource(ltxLike(100)), { signal }),
    client.delete([fileKey(0, 1)], { signal }),
    readAll(client, fileKey(0, 1), signal),
    open(t, sftpLocation(bench.sshd, { host: `127.0.0.1:${forwarder.port}` })).init({ signal }),
  ];
  const settled = Promise.allSettled(stalled);
  controller.abort();
  for (const result of await settled) {
    assert.equal(result.status, 'rejected');
    assert.ok(isLitestreamError(result.reason, 'ERR_ABORTED'), String(result.reason));
  }
});

test('sftp: a server that is down is an error that may be tried again, and says so', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, forwarder, sshd } = bench;
  await forwarder.refuse();
  await assert.rejects(client.init(), {
    ...TEMPORARY,
    message: `sftp: 127.0.0.1:${forwarder.port}: cannot connect: connection refused`,
  });
  await forwarder.accept();
  await client.init();
  await sshd.server.kill();
  await assert.rejects(listAll(client, 0), TEMPORARY);
  await sshd.server.start();
  assert.deepEqual(await listAll(client, 0), []);
});

test('sftp: BKD-01 what dead writers have left goes with the next write, and stays for readers', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, replica } = bench;
  const folder = join(replica, 'ltx/0');
  mkdirSync(folder, { recursive: true });
  const name = (n: number): string => `${'0'.repeat(15)}${n}-${'0'.repeat(15)}${n}.ltx`;
  const leave = (file: string, ageHours: number): void => {
    writeFileSync(join(folder, file), 'half a file');
    const then = Date.now() / 1000 - ageHours * 3600;
    utimesSync(join(folder, file), then, then);
  };
  leave(`${name(1)}.0123456789abcdef.tmp`, 0); // of the very file that is written below
  leave(`${name(5)}.4711.1700000000000000000.tmp`, 30); // of the reference, a day old
  leave(`${name(6)}.0123456789abcdef.tmp`, 1); // somebody may be writing it
  leave('notes.tmp', 1000); // not of our kind
  assert.deepEqual(await listAll(client, 0), []);
  assert.equal(readdirSync(folder).length, 4, 'a listing removes nothing');
  await client.write(fileKey(0, 1), bytesSource(ltxLike(100)));
  assert.deepEqual(readdirSync(folder).toSorted(), [
    name(1),
    `${name(6)}.0123456789abcdef.tmp`,
    'notes.tmp',
  ]);
});

test('sftp: BKD-20 after the lost answer to a rename the file is there once', async (t) => {
  const ssh = await startAsyncssh(t);
  if (ssh === undefined) return;
  const client = open(t, passwordLocation(ssh, '/db'));
  await client.init();
  const bytes = ltxLike(300);
  writeFileSync(`${ssh.root}.lose-rename`, '');
  await client.write(fileKey(0, 1), bytesSource(bytes));
  writeFileSync(`${ssh.root}.lose-rename`, '');
  // Whose it is only the content can tell: the caller compares.
  await assert.rejects(client.write(fileKey(0, 2), bytesSource(bytes), { ifAbsent: true }), {
    code: 'ERR_STORAGE_EXISTS',
  });
  assert.deepEqual(await readAll(client, fileKey(0, 2)), bytes);
  assert.equal((await listAll(client, 0)).length, 2);
  await client.write(fileKey(0, 3), bytesSource(bytes), { ifAbsent: true });
  assert.equal(readdirSync(join(ssh.root, 'db/ltx/0')).length, 3, 'nothing temporary stays');
});

test('sftp: one of several writers that replace nothing wins, and the others learn it', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client } = bench;
  const other = open(t, sftpLocation(bench.sshd));
  for (let txid = 1; txid <= 5; txid += 1) {
    const writes = [1, 2, 3, 4].map((seed) =>
      (seed % 2 === 0 ? client : other).write(
        fileKey(0, txid),
        bytesSource(ltxLike(5000, 1_700_000_000_000, seed)),
        { ifAbsent: true },
      ),
    );
    const results = await Promise.allSettled(writes);
    const winners = [1, 2, 3, 4].filter((seed) => results[seed - 1]?.status === 'fulfilled');
    assert.equal(winners.length, 1);
    for (const result of results)
      if (result.status === 'rejected') {
        assert.ok(isLitestreamError(result.reason, 'ERR_STORAGE_EXISTS'), String(result.reason));
      }
    const expected = ltxLike(5000, 1_700_000_000_000, winners[0]);
    assert.deepEqual(await readAll(client, fileKey(0, txid)), expected);
  }
  assert.equal(filesIn(bench).length, 5);
});

test('sftp: a server without extensions replaces files, too', async (t) => {
  const requests = 'posix-rename,fsync,limits,statvfs,hardlink';
  const bench = await setUp(t, {
    server: { config: [`Subsystem sftp internal-sftp -P ${requests}`] },
  });
  if (bench === undefined) return;
  const { client, replica } = bench;
  const key = fileKey(0, 1);
  await client.write(key, bytesSource(ltxLike(500_000)));
  const bytes = ltxLike(300, 1_600_000_000_000, 7);
  await client.write(key, bytesSource(bytes));
  assert.deepEqual(await readAll(client, key), bytes);
  assert.equal((await listAll(client, 0))[0]?.createdAt, 1_600_000_000_000);
  assert.deepEqual(readdirSync(join(replica, 'ltx/0')).length, 1);
});

test('sftp: a refusal is told apart from what is not there', async (t) => {
  const bench = await setUp(t, { server: { config: ['Subsystem sftp internal-sftp -R'] } });
  if (bench === undefined) return;
  const { client, replica } = bench;
  const folder = join(replica, 'ltx/0');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${'0'.repeat(15)}1-${'0'.repeat(15)}1.ltx`);
  writeFileSync(path, ltxLike(200));
  assert.equal((await readAll(client, fileKey(0, 1))).length, 200);
  await assert.rejects(readAll(client, fileKey(0, 2)), {
    code: 'ERR_STORAGE_NOT_FOUND',
    message: /^sftp: open ltx file .*: file does not exist$/,
  });
  const denied = { code: 'ERR_STORAGE_DENIED', retryable: false, message: /: permission denied$/ };
  await assert.rejects(client.write(fileKey(0, 3), bytesSource(ltxLike(100))), denied);
  await assert.rejects(client.delete([fileKey(0, 1)]), {
    ...denied,
    message: `sftp: cannot delete ltx file "${path}": permission denied`,
  });
  assert.equal(readFileSync(path).length, 200);
});

/** A file system of 2 MiB; undefined and a visible skip where that cannot be had. */
function smallDisk(t: TestContext): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-disk-'));
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder]).status !== 0) {
    rmdirSync(folder);
    t.skip('root: cannot mount a file system here');
    return undefined;
  }
  t.after(() => {
    spawnSync('umount', ['-l', folder]);
    rmdirSync(folder);
  });
  return folder;
}

test('sftp: a full disk of the server is told apart from other failures', async (t) => {
  const disk = smallDisk(t);
  if (disk === undefined) return;
  const bench = await setUp(t, { location: { path: disk } });
  if (bench === undefined) return;
  const { client } = bench;
  await client.write(fileKey(0, 1), bytesSource(ltxLike(100)));
  await assert.rejects(client.write(fileKey(9, 1), bytesSource(ltxLike(4_000_000))), {
    code: 'ERR_DISK_FULL',
    message: /no space left on device$/,
  });
  assert.deepEqual(await listAll(client, 9), []);
  await client.write(fileKey(0, 2), bytesSource(ltxLike(100)));
  assert.equal(filesIn(bench).length, 2);
});

test('sftp: a file that stands where a folder should be is named', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  writeFileSync(bench.replica, '');
  await assert.rejects(bench.client.write(fileKey(0, 1), bytesSource(ltxLike(100))), (error) => {
    assert.ok(isLitestreamError(error));
    assert.match(error.message, /^sftp: cannot .*replica/);
    return true;
  });
});

test('sftp: without concurrent writes each waits for the one before', async (t) => {
  const bench = await setUp(t, { location: { concurrentWrites: false } });
  if (bench === undefined) return;
  const bytes = ltxLike(1_000_000);
  await bench.client.write(fileKey(0, 1), bytesSource(bytes));
  assert.deepEqual(await readAll(bench.client, fileKey(0, 1)), bytes);
});

test('sftp: a replica in the folder of the login deletes only what is its own', async (t) => {
  const ssh = await startAsyncssh(t);
  if (ssh === undefined) return;
  const client = open(t, passwordLocation(ssh, ''));
  await client.write(fileKey(0, 1), bytesSource(ltxLike(100)));
  writeFileSync(join(ssh.root, 'mine.txt'), '');
  await client.deleteAll();
  assert.deepEqual(readdirSync(ssh.root), ['mine.txt']);
});

test('sftp: a client that is closed leaves no connection, and can be used again', async (t) => {
  const bench = await setUp(t);
  if (bench === undefined) return;
  const { client, forwarder } = bench;
  await client.init();
  await client.close();
  await waitFor(() => forwarder.open === 0, { what: 'the end of the connection' });
  await client.init();
  forwarder.stall();
  await client.close();
  forwarder.resume();
});
