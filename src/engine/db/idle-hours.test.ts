/** What hours without a commit cost, and hours with a few. */
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { present } from '../../lib/assert.ts';
import { systemClock } from '../../lib/clock.ts';
import { CheckpointWorker } from '../../sqlite/index.ts';
import { FakeClock, FaultyClient, MemoryClient } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { databaseOptions, testPorts } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { Database } from './database.ts';

const MINUTE = 60_000;
const HOURS = 6;

interface Life {
  readonly client: FaultyClient;
  readonly clock: FakeClock;
  readonly database: Database;
  readonly end: () => Promise<void>;
}

/** One life of a daemon; nothing runs yet. */
function live(t: TestContext, path: string, memory: MemoryClient): Life {
  const client = new FaultyClient(memory);
  const clock = new FakeClock();
  const ports = testPorts({ clock });
  const worker = new CheckpointWorker(systemClock);
  const options = databaseOptions(path, [client], {
    monitorIntervalMs: MINUTE,
    checkpointIntervalMs: MINUTE,
    minCheckpointPages: 20,
  });
  const database = new Database({ options, ports, worker, logger: ports.logger });
  const end = async (): Promise<void> => {
    await database.stopLoops();
    await database.release();
    await worker.close();
  };
  t.after(end);
  return { client, clock, database, end };
}

/** Captures and uploads everything. */
async function settle({ database }: Life): Promise<void> {
  const txid = await database.sync();
  await database.syncReplica(present(database.replicas[0], 'a replica'), txid);
}

/** Names and sizes of everything in the metadata folder. */
function metaOf(path: string): string[] {
  const folder = `${path}-meta`;
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted();
  return names.map((name) => {
    const stat = statSync(join(folder, name));
    return stat.isFile() ? `${name} ${stat.size}` : name;
  });
}

async function assertIdle(life: Life, path: string): Promise<void> {
  const { client, clock, database } = life;
  const before = { meta: metaOf(path), writes: client.count('write') };
  const wal = statSync(`${path}-wal`);
  database.start();
  for (let minute = 0; minute < HOURS * 60; minute++) await clock.advance(MINUTE);
  assert.deepEqual({ meta: metaOf(path), writes: client.count('write') }, before);
  const { mtimeMs, size } = statSync(`${path}-wal`);
  assert.deepEqual({ mtimeMs, size }, { mtimeMs: wal.mtimeMs, size: wal.size });
}

test('CAP-12 six hours without a commit make no file and no upload: a new database', async (t) => {
  const path = join(tempDir(t), 'app.db');
  new AppDatabase(t, path);
  const life = live(t, path, new MemoryClient());
  await settle(life);
  await assertIdle(life, path);
});

test('CAP-12 six hours without a commit make no file and no upload: after a restart', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const memory = new MemoryClient();
  const first = live(t, path, memory);
  await settle(first);
  app.insert(50, 1000);
  await settle(first);
  await first.end();
  const second = live(t, path, memory);
  await settle(second);
  await assertIdle(second, path);
});

test('CAP-12 six hours without a commit make no file and no upload: behind a large WAL that is of no use any more', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  // Every frame is in the database, and the file keeps its size.
  app.insert(2000, 1000);
  app.checkpoint('RESTART');
  app.insert(1);
  assert.ok(app.walBytes() > 1 << 20);
  const life = live(t, path, new MemoryClient());
  await settle(life);
  await assertIdle(life, path);
});

test('CAP-12 six hours without a commit make no file and no upload: after a sync that was given up', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const life = live(t, path, new MemoryClient());
  await settle(life);
  app.insert(50, 1000);
  const stop = new AbortController();
  const aborted = life.database.sync(stop.signal).catch(() => undefined);
  stop.abort();
  await aborted;
  await settle(life);
  await assertIdle(life, path);
});

test('CHK-10 a commit every ten minutes makes no more than a file of each', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const life = live(t, path, new MemoryClient());
  const { client, clock, database } = life;
  await settle(life);
  const before = { txid: database.txid, writes: client.count('write') };
  database.start();
  const commits = HOURS * 6;
  for (let n = 0; n < commits; n++) {
    app.insert(1);
    for (let minute = 0; minute < 10; minute++) await clock.advance(MINUTE);
  }
  const files = Number(database.txid - before.txid);
  // On a slow machine one comes with the next.
  assert.ok(files > commits / 2 && files <= commits, `${files} files`);
  assert.ok(client.count('write') - before.writes <= commits);
});
