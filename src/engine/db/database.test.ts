import assert from 'node:assert/strict';
import {
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { present } from '../../lib/assert.ts';
import { type Clock, systemClock, yieldToLoop } from '../../lib/clock.ts';
import { formatFileName, toTxid } from '../../formats/ltx/index.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { CheckpointWorker } from '../../sqlite/index.ts';
import type { ReplicaClient } from '../../storage/index.ts';
import { FakeClock, FaultyClient, MemoryClient } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { differences, PageImage } from '../../../test/support/capture.ts';
import {
  databaseOptions,
  pagesOf,
  type RecordingLogger,
  replicaOptions,
  testPorts,
} from '../../../test/support/engine.ts';
import { imageOfFiles, imageOfReplica, readLocal } from '../../../test/support/local-history.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import type { DatabaseOptions } from '../options.ts';
import { Database } from './database.ts';

const HELD = 'wal cannot be checkpointed while a snapshot is being read';

interface Bench {
  readonly database: Database;
  readonly logger: RecordingLogger;
  readonly close: () => Promise<void>;
}

function openDatabase(
  t: TestContext,
  path: string,
  clients: readonly ReplicaClient[],
  { clock = systemClock, ...overrides }: Partial<DatabaseOptions> & { clock?: Clock } = {},
): Bench {
  const ports = testPorts({ clock });
  const worker = new CheckpointWorker(systemClock);
  const options = databaseOptions(path, clients, overrides);
  const database = new Database({ options, ports, worker, logger: ports.logger });
  const close = async (): Promise<void> => {
    await database.stopLoops();
    await database.release();
    await worker.close();
  };
  t.after(close);
  return { database, logger: ports.logger, close };
}

/** Uploads everything to every replica. */
async function upload(database: Database): Promise<void> {
  const txid = await database.sync();
  for (const replica of database.replicas) await database.syncReplica(replica, txid);
}

test('a database that does not exist yet is waited for', async (t) => {
  const path = join(tempDir(t), 'later.db');
  const { database } = openDatabase(t, path, [new MemoryClient()]);
  assert.equal(await database.sync(), 0n);
  new AppDatabase(t, path);
  assert.equal(await database.sync(), 1n);
  assert.deepEqual(differences(await imageOfFiles(database.files), pagesOf(path)), []);
});

test('E2 each sync that finds commits makes one file, and one that finds none makes none', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const { database } = openDatabase(t, path, [new MemoryClient()]);
  const txids = [];
  for (let n = 0; n < 5; n++) {
    app.insert(3);
    app.insert(3);
    txids.push(await database.sync(), await database.sync());
  }
  assert.deepEqual(txids, [1n, 1n, 2n, 2n, 3n, 3n, 4n, 4n, 5n, 5n]);
  assert.deepEqual(await database.files.list(), [1n, 2n, 3n, 4n, 5n]);
  assert.deepEqual(differences(await imageOfFiles(database.files), pagesOf(path)), []);
});

test('the byte limit makes several files of one sync', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const { database } = openDatabase(t, path, [new MemoryClient()], { maxSyncWalBytes: 300_000 });
  await database.sync();
  for (let n = 0; n < 300; n++) app.insert(2);
  assert.ok((await database.sync()) > 3n);
  assert.deepEqual(differences(await imageOfFiles(database.files), pagesOf(path)), []);
});

test('checkpoints in between change nothing in what is captured', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const { database } = openDatabase(t, path, [new MemoryClient()], { minCheckpointPages: 10 });
  for (let n = 0; n < 12; n++) {
    app.insert(20, 500);
    await database.sync();
    app.exec(`UPDATE t SET v = 'n${n}' WHERE id % 5 = 0`);
  }
  await database.sync();
  assert.ok(app.walBytes() < 400_000, 'the WAL restarted');
  const reasons = (await database.files.list()).map(
    (txid) => readLocal(database.files, txid).pages.length,
  );
  assert.ok(reasons.at(-1) !== reasons[0]);
  assert.deepEqual(differences(await imageOfFiles(database.files), pagesOf(path)), []);
});

test('a commit between the last sync and the end restarts the WAL, and is an increment after the next start', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const first = openDatabase(t, path, [new MemoryClient()], { minCheckpointPages: 10 });
  await first.database.sync();
  app.insert(50, 500);
  await first.database.sync();
  await first.database.stopLoops();
  const salts = (): string => readFileSync(`${path}-wal`).toString('hex', 16, 24);
  const before = salts();
  app.insert(1);
  assert.notEqual(salts(), before, 'a checkpoint was complete');
  await first.close();
  app.insert(1);
  const second = openDatabase(t, path, [new MemoryClient()]);
  await second.database.sync();
  const messages = second.logger.messages('info', 'warn');
  assert.ok(!messages.includes('writing the whole database'));
  assert.deepEqual(differences(await imageOfFiles(second.database.files), pagesOf(path)), []);
});

test('CAP-15 another file under the path is noticed and written whole', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const { database, logger } = openDatabase(t, path, [new MemoryClient()]);
  await database.sync();
  app.close();
  const other = new AppDatabase(t, `${path}-new`, { rows: 7 });
  other.checkpoint('TRUNCATE');
  other.close();
  for (const end of ['-wal', '-shm']) rmSync(`${path}${end}`, { force: true });
  renameSync(`${path}-new`, path);
  await database.sync();
  const txid = await database.sync();
  assert.equal(txid, 2n);
  const { header, pages } = readLocal(database.files, txid);
  assert.equal(pages.length, header.commit);
  assert.ok(logger.messages('warn').includes('database files were replaced, starting over'));
  assert.deepEqual(differences(await imageOfFiles(database.files), pagesOf(path)), []);
});

test('a WAL that vanished under us is noticed, and everything is written again', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const { database, logger } = openDatabase(t, path, [new MemoryClient()]);
  await database.sync();
  app.close();
  const copy = `${path}-copy`;
  copyFileSync(`${path}-wal`, copy);
  renameSync(copy, `${path}-wal`);
  await database.sync();
  await database.sync();
  assert.ok(logger.messages('warn').includes('database files were replaced, starting over'));
  assert.deepEqual(differences(await imageOfFiles(database.files), pagesOf(path)), []);
});

test('CAP-07 CMP-20 E2 lost metadata: numbers go on behind the replica, and nothing is missing there', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const client = new MemoryClient();
  const first = openDatabase(t, path, [client]);
  await upload(first.database);
  app.insert(5);
  await upload(first.database);
  await first.close();
  rmSync(`${path}-meta`, { recursive: true });
  app.insert(5);
  app.checkpoint('TRUNCATE');
  app.insert(5);
  const second = openDatabase(t, path, [client]);
  assert.equal(await second.database.sync(), 3n);
});

test('CAP-23 capture goes on while a replica is silent, and is renumbered when it turns out to be ahead', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const memory = new MemoryClient();
  const first = openDatabase(t, path, [memory]);
  for (let n = 0; n < 3; n++) {
    app.insert(5);
    await upload(first.database);
  }
  await first.close();
  rmSync(`${path}-meta`, { recursive: true });

  const client = new FaultyClient(memory);
  client.setDown(true);
  const second = openDatabase(t, path, [client]);
  assert.equal(await second.database.sync(), 1n, 'nobody is waited for');
  app.insert(5);
  assert.equal(await second.database.sync(), 2n);
  client.setDown(false);
  const [replica] = second.database.replicas;
  const stop = new AbortController();
  // The history was taken over without a proof that it is ours: the upload itself would wait now.
  const synced = second.database.syncReplica(present(replica, 'a replica'), toTxid(2), stop.signal);
  const ended = assert.rejects(synced, { code: 'ERR_ABORTED' });
  while (second.database.txid < 4n) await yieldToLoop();
  stop.abort();
  await ended;
  assert.ok(second.logger.messages('warn').includes('detected database behind replica'));
  assert.equal(await second.database.sync(), 4n);
  assert.deepEqual(await second.database.files.list(), [4n]);
  assert.deepEqual(differences(await imageOfFiles(second.database.files), pagesOf(path)), []);
});

for (const harm of ['cut', 'altered', 'gone'] as const) {
  test(`CAP-16 a replica that is ahead, and whose newest file is ${harm}, is gone on behind with everything`, async (t) => {
    const path = join(tempDir(t), 'app.db');
    const app = new AppDatabase(t, path);
    const memory = new MemoryClient();
    const first = openDatabase(t, path, [memory]);
    for (let n = 0; n < 3; n++) {
      app.insert(5);
      await upload(first.database);
    }
    await first.close();
    rmSync(`${path}-meta`, { recursive: true });
    const client = new FaultyClient(memory);
    if (harm === 'gone') {
      const text = 'no such file';
      client.inject({
        operation: 'read',
        kind: 'before',
        error: new LitestreamError('ERR_STORAGE_NOT_FOUND', text),
      });
    } else {
      const key = `ltx/0/${formatFileName(toTxid(3), toTxid(3))}`;
      const object = present(memory.store.get(key), key);
      const bytes = Uint8Array.from(object.bytes);
      bytes[bytes.length - 30] = (bytes.at(-30) ?? 0) ^ 1;
      memory.store.set(key, { ...object, bytes: harm === 'cut' ? bytes.subarray(0, 200) : bytes });
    }
    const second = openDatabase(t, path, [client]);
    assert.equal(await second.database.sync(), 4n);
    assert.deepEqual(await second.database.files.list(), [4n]);
    assert.deepEqual(differences(await imageOfFiles(second.database.files), pagesOf(path)), []);
    const said = second.logger.messages('warn', 'error');
    assert.ok(said.includes('newest file of the replica is of no use'), said.join());
    app.insert(5);
    assert.equal(await second.database.sync(), 5n, 'capture goes on');
  });
}

for (const damage of ['cut', 'altered'] as const) {
  test(`CAP-16 a newest file that was ${damage} is an error, or is replaced with auto-recover`, async (t) => {
    const path = join(tempDir(t), 'app.db');
    const app = new AppDatabase(t, path);
    const client = new MemoryClient();
    const first = openDatabase(t, path, [client]);
    await upload(first.database);
    app.insert(5);
    await first.database.sync();
    await first.close();
    const name = first.database.files.pathOf(
      present((await first.database.files.list()).at(-1), 'a file'),
    );
    const bytes = readFileSync(name);
    if (damage === 'altered') bytes[bytes.length - 30] = (bytes.at(-30) ?? 0) ^ 1;
    writeFileSync(name, damage === 'cut' ? bytes.subarray(0, 200) : bytes);

    const strict = openDatabase(t, path, [client]);
    await assert.rejects(strict.database.sync(), { code: 'ERR_LTX_CORRUPTED' });
    await strict.close();

    const replicas = [replicaOptions(client, { autoRecover: true })];
    const lenient = openDatabase(t, path, [], { replicas });
    assert.ok((await lenient.database.sync()) >= 2n);
    const reset = lenient.logger.records.find(
      ({ message }) => message === 'auto-recovery enabled, resetting local state',
    );
    assert.deepEqual([reset?.attributes['min_txid'], reset?.attributes['max_txid']], [1n, 2n]);
    const [replica] = lenient.database.replicas;
    await lenient.database.syncReplica(present(replica, 'a replica'), lenient.database.txid);
    assert.deepEqual(differences(imageOfReplica(client.store), pagesOf(path)), []);
  });
}

test('CAP-16 a damaged newest file is tried again ever less often, with advice', async (t) => {
  const path = join(tempDir(t), 'app.db');
  new AppDatabase(t, path);
  const first = openDatabase(t, path, [new MemoryClient()]);
  await first.database.sync();
  await first.close();
  writeFileSync(first.database.files.pathOf(toTxid(1)), 'damaged');
  const clock = new FakeClock();
  const options = { clock, monitorIntervalMs: 1000 };
  const { database, logger } = openDatabase(t, path, [new MemoryClient()], options);
  database.start();
  for (let second = 0; second < 600; second += 1) await clock.advance(1000);
  const { consecutiveErrors } = database.facts();
  assert.ok(consecutiveErrors >= 2 && consecutiveErrors <= 12, `${consecutiveErrors} attempts`);
  const said = logger.records.filter(({ level }) => level === 'error');
  assert.ok(said.length <= consecutiveErrors);
  assert.match(JSON.stringify(said[0]?.attributes['hint']), /corrupted/);
});

test('CHK-06 CHK-09 a view is the database at its position, and holds checkpoints back, loudly, until it is released', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const { database, logger } = openDatabase(t, path, [new MemoryClient()], {
    minCheckpointPages: 5,
  });
  app.insert(30);
  const expected = pagesOf(path);
  const view = present(await database.view(), 'a view');
  assert.equal(view.txid, database.txid);
  for (let n = 0; n < 5; n++) {
    app.exec(`UPDATE t SET v = 'later${n}'`);
    await database.sync();
  }
  assert.deepEqual(new Set(logger.messages('warn')), new Set([HELD]));
  const image = new PageImage();
  image.apply(view.transaction);
  assert.deepEqual(differences(image.pages, expected), []);
  view.release();
  view.release();
  app.insert(1);
  await database.sync();
  assert.deepEqual(differences(await imageOfFiles(database.files), pagesOf(path)), []);
});

test('there is no view of what does not exist', async (t) => {
  const { database } = openDatabase(t, join(tempDir(t), 'none.db'), [new MemoryClient()]);
  assert.equal(await database.view(), undefined);
});

test('CMP-07 left-overs of a crash are removed at the start', async (t) => {
  const path = join(tempDir(t), 'app.db');
  new AppDatabase(t, path);
  const first = openDatabase(t, path, [new MemoryClient()]);
  await first.database.sync();
  await first.close();
  writeFileSync(
    join(first.database.files.folder, '0000000000000002-0000000000000002.ltx.tmp'),
    'half',
  );
  const second = openDatabase(t, path, [new MemoryClient()]);
  assert.equal(await second.database.sync(), 1n);
  assert.deepEqual(readdirSync(second.database.files.folder), [
    '0000000000000001-0000000000000001.ltx',
  ]);
});

test('concurrent syncs are one after another and see everything', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const { database } = openDatabase(t, path, [new MemoryClient()]);
  app.insert(1);
  const txids = await Promise.all([database.sync(), database.sync(), database.sync()]);
  assert.deepEqual(txids, [1n, 1n, 1n]);
});

test('CAP-12 CHK-10 E7 an idle database makes no file and no upload', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const client = new FaultyClient(new MemoryClient());
  const clock = new FakeClock();
  const options = {
    clock,
    monitorIntervalMs: 1000,
    checkpointIntervalMs: 60_000,
    minCheckpointPages: 3,
  };
  const { database, close } = openDatabase(t, path, [client], options);
  database.start();
  while (client.count('write') < 1) await clock.advance(100);
  app.insert(1);
  while (client.count('write') < 2) await clock.advance(100);
  const wal = readFileSync(`${path}-wal`);
  for (let minute = 0; minute < 10; minute++) await clock.advance(60_000);
  assert.equal(client.count('write'), 2);
  assert.deepEqual(await database.files.list(), [1n, 2n]);
  assert.deepEqual(readFileSync(`${path}-wal`), wal, 'nor does it write into the WAL');
  await close();
});
