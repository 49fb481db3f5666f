import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { present } from '../../lib/assert.ts';
import { type Clock, sleep, systemClock } from '../../lib/clock.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import { FakeClock, MemoryClient, type MemoryStore } from '../../testing/index.ts';
import { readRecords, writeRecord } from '../../verify/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import {
  databaseOptions,
  type RecordingLogger,
  replicaOptions,
  testPorts,
} from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { Store } from './store.ts';
import { Watchdog } from './watchdog.ts';

const HOUR_MS = 3_600_000;

interface Run {
  readonly store: Store;
  readonly watchdog: Watchdog;
  readonly logger: RecordingLogger;
}

interface RunOptions {
  readonly path: string;
  readonly remote: MemoryStore;
  readonly validationIntervalMs: number;
  readonly clock?: Clock;
}

/** A store that verifies, and what watches it. */
async function run(
  t: TestContext,
  { clock = systemClock, path, remote, validationIntervalMs }: RunOptions,
): Promise<Run> {
  const ports = testPorts({ clock });
  const client = new MemoryClient({ store: remote });
  const replica = replicaOptions(client, { validationIntervalMs, syncIntervalMs: 20 });
  const database = databaseOptions(path, [], { monitorIntervalMs: 20, replicas: [replica] });
  const store = new Store(
    {
      databases: [database],
      shutdownSyncTimeoutMs: 0,
      shutdownSyncIntervalMs: 0,
      levels: [],
      snapshotIntervalMs: 0,
      snapshotRetentionMs: 0,
      l0RetentionMs: HOUR_MS,
      l0RetentionCheckIntervalMs: HOUR_MS,
      retentionEnabled: false,
      verifyCompaction: false,
      monitors: true,
    },
    ports,
  );
  t.after(() => store.close());
  await store.open();
  const watchdog = new Watchdog({ observe: () => store.observe(), ...ports });
  return { store, watchdog, logger: ports.logger };
}

function statusOf({ watchdog }: Run): string | undefined {
  return watchdog.check()[0]?.status;
}

function hasLine({ logger }: Run, wanted: string): boolean {
  return logger.records.some(({ message }) => message === wanted);
}

/** Flips the last bit of the oldest file; returns what undoes it. */
function damage(remote: MemoryStore): () => void {
  const [key = ''] = [...remote.keys()].toSorted();
  const object = present(remote.get(key), key);
  const bytes = Uint8Array.from(object.bytes);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  remote.set(key, { ...object, bytes });
  return () => void remote.set(key, object);
}

test('OPS-04 a database whose replica is found to be damaged is unhealthy until the damage is healed', async (t) => {
  const path = join(tempDir(t), 'app.db');
  new AppDatabase(t, path);
  const remote: MemoryStore = new Map();
  const engine = await run(t, { path, remote, validationIntervalMs: 100 });
  await waitFor(() => hasLine(engine, 'replica verified'), { what: 'a verification' });
  assert.equal(statusOf(engine), 'ok');
  const heal = damage(remote);
  await waitFor(() => statusOf(engine) === 'unhealthy', { what: 'the alarm' });
  const [replica] = present(engine.store.observeDatabase(path), path).replicas;
  assert.match(replica?.damage ?? '', /checksum/);
  assert.ok(hasLine(engine, 'replica is damaged'));
  assert.equal(hasLine(engine, 'replica is no longer damaged'), false);
  heal();
  await waitFor(() => statusOf(engine) === 'ok', { what: 'the end of the alarm' });
  assert.ok(hasLine(engine, 'replica is no longer damaged'));
});

test('OPS-04 damage is remembered over a restart, and forgotten when somebody has verified the replica again', async (t) => {
  const path = join(tempDir(t), 'app.db');
  new AppDatabase(t, path);
  const remote: MemoryStore = new Map();
  const first = await run(t, { path, remote, validationIntervalMs: 100 });
  await waitFor(() => hasLine(first, 'replica verified'), { what: 'a verification' });
  damage(remote);
  await waitFor(() => statusOf(first) === 'unhealthy', { what: 'the alarm' });
  const meta = `${path}-meta`;
  const recorded = async (): Promise<boolean> =>
    (await readRecords(nodeFileSystem, meta))[0]?.result === 'damage';
  await waitFor(recorded, { what: 'the record' });
  await first.store.close();

  const clock = new FakeClock();
  const drive = async (): Promise<void> => {
    await sleep(systemClock, 5);
    await clock.advance(100);
  };
  const second = await run(t, { path, remote, validationIntervalMs: HOUR_MS, clock });
  while (statusOf(second) !== 'unhealthy') await drive();
  assert.ok(hasLine(second, 'replica was found to be damaged'));
  assert.equal(hasLine(second, 'replica is damaged'), false, 'nothing was verified yet');
  await second.store.stop(path);
  assert.equal(statusOf(second), 'stopped');
  await second.store.start(path);
  while (statusOf(second) !== 'unhealthy') await drive();

  const [record] = await readRecords(nodeFileSystem, meta);
  const sound = { ...present(record, 'record'), result: 'ok', message: '' } as const;
  await writeRecord(nodeFileSystem, meta, sound);
  while (statusOf(second) !== 'ok') await drive();
  assert.ok(hasLine(second, 'replica is no longer damaged'));
});
