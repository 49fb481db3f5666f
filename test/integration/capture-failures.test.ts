/** Failures of capture that others have seen, each replayed with the whole program. */
import assert from 'node:assert/strict';
import { statSync, utimesSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Store } from '../../src/engine/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { openFileReplica } from '../../src/storage/index.ts';
import { testPorts } from '../support/engine.ts';
import { lastTxid } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { Scene } from './scene.ts';

test('CAP-03 a WAL that is written again from its start is captured although its size stays the same', async (t) => {
  const scene = new Scene(t, { database: ['min-checkpoint-page-count: 100'] });
  const application = await scene.application();
  await application.exec('PRAGMA wal_autocheckpoint = 0');
  scene.start();
  await scene.converged();
  const wal = `${scene.database}-wal`;
  for (let n = 0; n < 100; n++) await application.insert(5);
  await scene.converged();
  const { size } = statSync(wal);
  // The daemon has checkpointed: writes now go to the front, and the file keeps its size and, here, its time.
  for (let n = 0; n < 20; n++) {
    const before = lastTxid(scene.replica);
    const { atime, mtime } = statSync(wal);
    await application.insert(1);
    utimesSync(wal, atime, mtime);
    await waitFor(() => lastTxid(scene.replica) !== before, { what: `commit ${n}` });
  }
  assert.equal(statSync(wal).size, size);
  await scene.converged();
});

test('CAP-09 a start behind a WAL that holds nothing but its header', async (t) => {
  const scene = new Scene(t, { database: ['min-checkpoint-page-count: 1'] });
  const application = await scene.application();
  const first = scene.start();
  await scene.converged();
  await application.insert(1);
  await scene.converged();
  await first.stop();
  // Everything is in the database file; an application empties the WAL and begins a transaction that it gives up.
  await application.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  await application.exec('PRAGMA cache_size = 1', 'BEGIN IMMEDIATE');
  await application.exec("UPDATE t SET v = 'y'", 'ROLLBACK');
  const second = scene.start();
  await scene.converged();
  await application.insert(1);
  await scene.converged();
  await second.stop();
  assert.doesNotMatch(scene.log, /level=ERROR/);
  scene.assertUnbroken();
});

test('CAP-14 a hundred syncs at once, snapshots and checkpoints under load all come to an end', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  const client = await openFileReplica(scene.replica, {
    fileSystem: nodeFileSystem,
    clock: systemClock,
  });
  const store = new Store(
    {
      databases: [
        {
          path: scene.database,
          metaPath: `${scene.database}-meta`,
          monitorIntervalMs: 20,
          monitorIntervalExplicit: false,
          checkpointIntervalMs: 50,
          busyTimeoutMs: 1000,
          minCheckpointPages: 20,
          truncatePages: 0,
          maxSyncWalBytes: 0,
          replicas: [
            {
              client,
              syncIntervalMs: 50,
              syncIntervalExplicit: false,
              maxSyncLtxFiles: 0,
              autoRecover: false,
            },
          ],
        },
      ],
      shutdownSyncTimeoutMs: 10_000,
      shutdownSyncIntervalMs: 100,
      levels: [{ level: 1, intervalMs: 300 }],
      snapshotIntervalMs: 0,
      snapshotRetentionMs: 3_600_000,
      l0RetentionMs: 3_600_000,
      l0RetentionCheckIntervalMs: 1000,
      retentionEnabled: true,
      verifyCompaction: true,
      monitors: true,
    },
    // The application runs in another process; this one has no connection of its own to lose locks with.
    { ...testPorts(), descriptorSink: undefined },
  );
  await store.open();
  await application.run({ seed: 14, pauseMs: 2 });
  const impatient = new AbortController();
  const gaveUp = assert.rejects(
    Promise.all(
      Array.from({ length: 20 }, () => store.syncDatabase(scene.database, impatient.signal)),
    ),
    { code: 'ERR_ABORTED' },
  );
  const work = [
    ...Array.from({ length: 100 }, () => store.syncDatabase(scene.database)),
    store.snapshotDatabase(scene.database),
    store.snapshotDatabase(scene.database),
  ];
  impatient.abort();
  await gaveUp;
  await Promise.all(work);
  const { errors, locked } = await application.pause();
  assert.deepEqual({ errors, locked }, { errors: [], locked: 0 });
  assert.deepEqual(await store.close(), []);
  scene.equal();
});

test('CHK-02 writers are never turned away while a reader keeps the WAL from being checkpointed', async (t) => {
  const scene = new Scene(t, {
    database: [
      'min-checkpoint-page-count: 10',
      'truncate-page-n: 20',
      'checkpoint-interval: 100ms',
    ],
  });
  const application = await scene.application();
  const reader = await scene.application({ rows: 0 });
  scene.start('-config', scene.config, '-log-level', 'debug');
  await scene.converged();
  await reader.exec('BEGIN', 'SELECT count(*) FROM t');
  await application.run({ seed: 2, pauseMs: 3 });
  await sleep(3_000);
  const { errors, locked, commits } = await application.pause();
  assert.deepEqual({ errors, locked }, { errors: [], locked: 0 });
  assert.ok(commits > 100);
  await scene.converged();
  assert.doesNotMatch(scene.log, /mode=(FULL|RESTART)/);
  await reader.exec('COMMIT');
  await scene.converged();
});
