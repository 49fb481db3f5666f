import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeFileSystem } from '../../lib/file-system.ts';
import {
  FaultyClient,
  FaultyFileSystem,
  MemoryClient,
  RecordedMetrics,
} from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { databaseOptions, testPorts } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { Store } from './store.ts';

test('OPS-10 counts and sizes of a database, from zero to a full disk and a dead store', async (t) => {
  const folder = tempDir(t);
  const path = join(folder, 'app.db');
  const db = { db: path };
  const metrics = new RecordedMetrics();
  const fileSystem = new FaultyFileSystem(nodeFileSystem);
  const ports = testPorts({ fileSystem, metrics });
  const client = new FaultyClient(new MemoryClient());
  const store = new Store(
    {
      databases: [databaseOptions(path, [client])],
      shutdownSyncTimeoutMs: 0,
      shutdownSyncIntervalMs: 0,
      levels: [{ level: 1, intervalMs: 30_000 }],
      snapshotIntervalMs: 86_400_000,
      snapshotRetentionMs: 86_400_000,
      l0RetentionMs: 300_000,
      l0RetentionCheckIntervalMs: 15_000,
      retentionEnabled: true,
      verifyCompaction: false,
      monitors: false,
    },
    ports,
  );
  t.after(() => store.close());
  await store.open();

  for (const name of [
    'litestream_db_size',
    'litestream_wal_size',
    'litestream_total_wal_bytes',
    'litestream_txid',
    'litestream_sync_count',
    'litestream_sync_error_count',
    'litestream_sync_seconds',
    'litestream_disk_full',
    'litestream_compaction_verify_error_count',
    'litestream_unhealthy',
    'litestream_upkeep_error_count',
  ] as const) {
    assert.equal(metrics.get(name, db), 0, name);
  }

  await assert.rejects(store.syncDatabase(path), /waiting for data/);
  assert.equal(metrics.get('litestream_sync_count', db), 1);
  assert.equal(metrics.get('litestream_sync_error_count', db), 0);
  assert.equal(metrics.get('litestream_db_size', db), 0);

  const app = new AppDatabase(t, path);
  app.insert(20, 2000);
  const { txid } = await store.syncDatabase(path);
  const wal = statSync(`${path}-wal`).size;
  assert.equal(metrics.get('litestream_sync_count', db), 2);
  assert.equal(metrics.get('litestream_txid', db), Number(txid));
  assert.equal(metrics.get('litestream_db_size', db), statSync(path).size);
  assert.equal(metrics.get('litestream_wal_size', db), wal);
  assert.equal(metrics.get('litestream_total_wal_bytes', db), wal - 32);
  assert.ok((metrics.get('litestream_sync_seconds', db) ?? 0) > 0);

  app.insert(1, 100);
  fileSystem.fail('ENOSPC', { label: 'l0:write' });
  await assert.rejects(store.syncDatabase(path), { code: 'ERR_DISK_FULL' });
  assert.equal(metrics.get('litestream_disk_full', db), 1);
  assert.equal(metrics.get('litestream_sync_error_count', db), 1);
  assert.equal(metrics.get('litestream_txid', db), Number(txid));
  await store.syncDatabase(path);
  assert.equal(metrics.get('litestream_disk_full', db), 0);
  assert.equal(metrics.get('litestream_sync_error_count', db), 1);
  assert.equal(metrics.get('litestream_txid', db), Number(txid) + 1);
});
