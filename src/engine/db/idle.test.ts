import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import { CheckpointWorker } from '../../sqlite/index.ts';
import {
  FakeClock,
  FaultyClient,
  FaultyFileSystem,
  MemoryClient,
  RecordedMetrics,
} from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { databaseOptions, testPorts } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { Database } from './database.ts';

const TICKS = 200;
const CALLS_MAX_PER_TICK = 3;
const COUNTED = [
  'existsSync',
  'fstatSync',
  'lstatSync',
  'openSync',
  'readdirSync',
  'readFileSync',
  'readSync',
  'statSync',
] as const;

/** Counts the synchronous calls of `node:fs`, also of modules that have imported them by name, until the test ends. */
function counter(t: TestContext): () => number {
  const mocks = COUNTED.map((name) => t.mock.method(fs, name).mock);
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  return () => mocks.reduce((sum, mock) => sum + mock.callCount(), 0);
}

test('CAP-17 a tick of an idle database reads no folder and makes a few system calls', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const fileSystem = new FaultyFileSystem(nodeFileSystem);
  const client = new FaultyClient(new MemoryClient());
  // A file that changed a moment ago would be read again.
  const clock = new FakeClock(systemClock.now() + 60_000);
  const metrics = new RecordedMetrics();
  const ports = testPorts({ clock, fileSystem, metrics });
  const worker = new CheckpointWorker(systemClock);
  const options = databaseOptions(path, [client], { monitorIntervalMs: 1000 });
  const database = new Database({ options, ports, worker, logger: ports.logger });
  t.after(async () => {
    await database.stopLoops();
    await database.release();
    await worker.close();
  });
  const [replica] = database.replicas;
  assert.ok(replica !== undefined);
  for (let n = 0; n < 30; n++) {
    app.insert(1);
    await database.syncReplica(replica, await database.sync());
  }
  database.start();
  await clock.advance(60_000);
  const calls = counter(t);
  const ticks = (): number => metrics.get('litestream_sync_count', { db: path }) ?? 0;
  const before = { calls: calls(), remote: client.count(), files: fileSystem.calls.length };
  const first = ticks();
  while (ticks() < first + TICKS) await clock.advance(1000);
  const perTick = (calls() - before.calls) / (ticks() - first);
  assert.ok(perTick > 0, 'nothing was counted');
  assert.ok(perTick <= CALLS_MAX_PER_TICK, `${perTick} calls per tick`);
  assert.deepEqual(fileSystem.calls.slice(before.files), []);
  assert.equal(client.count(), before.remote);
});
