/** Rows of the failure catalogue about what happens to many databases, or at odd times. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { noopMetrics } from '../../telemetry/index.ts';
import { listAll, MemoryClient } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { databaseOptions, testPorts, type RecordingLogger } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { waitFor } from '../../../test/support/wait.ts';
import type { FileInfo, FileKey, WriteOptions, WriteSource } from '../../storage/index.ts';
import type { DatabaseOptions, StoreOptions } from '../options.ts';
import { Store } from './store.ts';

const HOUR = 3_600_000;

async function openStore(
  t: TestContext,
  databases: readonly DatabaseOptions[],
  change: Partial<StoreOptions> = {},
): Promise<{ store: Store; logger: RecordingLogger }> {
  const ports = testPorts({ metrics: noopMetrics });
  const options: StoreOptions = {
    databases,
    shutdownSyncTimeoutMs: 0,
    shutdownSyncIntervalMs: 0,
    levels: [],
    snapshotIntervalMs: 0,
    snapshotRetentionMs: 24 * HOUR,
    l0RetentionMs: HOUR,
    l0RetentionCheckIntervalMs: HOUR,
    retentionEnabled: true,
    verifyCompaction: false,
    monitors: true,
    ...change,
  };
  const store = new Store(options, ports);
  t.after(() => store.close());
  await store.open();
  return { store, logger: ports.logger };
}

/** How much is written at the same time. */
class Gauge {
  most = 0;
  #now = 0;

  async hold<T>(body: () => Promise<T>): Promise<T> {
    this.most = Math.max(this.most, ++this.#now);
    try {
      return await body();
    } finally {
      this.#now -= 1;
    }
  }
}

/** Takes its time for files above level 0. */
class SlowClient extends MemoryClient {
  readonly #gauge: Gauge;

  constructor(gauge: Gauge, path: string) {
    super({ path });
    this.#gauge = gauge;
  }

  override write(key: FileKey, source: WriteSource, options?: WriteOptions): Promise<FileInfo> {
    if (key.level === 0) return super.write(key, source, options);
    return this.#gauge.hold(async () => {
      await new Promise((resolve) => void setTimeout(resolve, 40));
      return super.write(key, source, options);
    });
  }
}

test('CMP-14 a database that comes late is compacted at once, whatever the interval, without an error', async (t) => {
  const path = join(tempDir(t), 'late.db');
  const client = new MemoryClient();
  const levels = [{ level: 1, intervalMs: HOUR }];
  const options = databaseOptions(path, [client], { monitorIntervalMs: 20 });
  const { logger } = await openStore(t, [options], { levels });
  await waitFor(() => logger.messages('debug').includes('scheduling retry for unready dbs'), {
    what: 'the level’s first tick',
  });
  new AppDatabase(t, path).insert(1);
  await waitFor(async () => (await listAll(client, 1)).length > 0, { what: 'a file of level 1' });
  assert.deepEqual(logger.messages(), ['database does not exist, waiting for it']);
  assert.deepEqual(logger.messages('error'), []);
});

test('CMP-15 of many databases a few write snapshots at the same time, and all get theirs', async (t) => {
  const folder = tempDir(t);
  const gauge = new Gauge();
  const members = Array.from({ length: 16 }, (_, n) => {
    const path = join(folder, `${n}.db`);
    new AppDatabase(t, path);
    return { path, client: new SlowClient(gauge, `replica-${n}`) };
  });
  const databases = members.map(({ path, client }) =>
    databaseOptions(path, [client], { monitorIntervalMs: 20 }),
  );
  await openStore(t, databases, {
    snapshotIntervalMs: HOUR,
    levels: [1, 2, 3].map((level) => ({ level, intervalMs: HOUR })),
  });
  for (const { client } of members) {
    await waitFor(async () => (await listAll(client, 9)).length > 0, { what: 'a snapshot' });
  }
  assert.ok(gauge.most >= 2 && gauge.most <= 4, `${gauge.most} at the same time`);
});

test('CHK-06 CHK-09 a snapshot whose upload never ends holds up neither checkpoints nor the end', async (t) => {
  const path = join(tempDir(t), 'app.db');
  let uploading = false;
  const client = new (class extends MemoryClient {
    override write(key: FileKey, source: WriteSource, options?: WriteOptions): Promise<FileInfo> {
      if (key.level === 0) return super.write(key, source, options);
      uploading = true;
      return new Promise((_resolve, reject) => {
        const signal = options?.signal;
        signal?.addEventListener('abort', () => reject(signal.reason as Error));
      });
    }
  })();
  const app = new AppDatabase(t, path);
  const options = databaseOptions(path, [client], {
    monitorIntervalMs: 20,
    minCheckpointPages: 20,
  });
  const { logger, store } = await openStore(t, [options], { snapshotIntervalMs: 50 });
  await waitFor(() => uploading, { what: 'the upload' });
  // The WAL starts over again and again.
  const salts = new Set<string>();
  const restarted = (): boolean => {
    app.insert(10, 1000);
    salts.add(readFileSync(`${path}-wal`).toString('hex', 16, 24));
    return salts.size > 4;
  };
  await waitFor(restarted, { what: 'checkpoints' });
  assert.deepEqual(await store.close(), []);
  assert.deepEqual(logger.messages('warn', 'error'), []);
});

test('CMP-07 a compaction waits for the snapshot of its database', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const gauge = new Gauge();
  const client = new SlowClient(gauge, 'replica');
  const app = new AppDatabase(t, path);
  const options = databaseOptions(path, [client], { monitorIntervalMs: 20 });
  await openStore(t, [options], {
    snapshotIntervalMs: 100,
    levels: [1, 2, 3].map((level) => ({ level, intervalMs: 100 })),
  });
  await waitFor(
    async () => {
      app.insert(1);
      const levels = await Promise.all([1, 2, 3, 9].map((level) => listAll(client, level)));
      return levels.every((files) => files.length >= 3);
    },
    { what: 'files of every level' },
  );
  assert.equal(gauge.most, 1);
});
