import assert from 'node:assert/strict';
import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { formatFileName, toTxid } from '../../formats/ltx/index.ts';
import { systemClock } from '../../lib/clock.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import { restoreDatabase } from '../../restore/index.ts';
import { CheckpointWorker } from '../../sqlite/index.ts';
import { bytesSource } from '../../storage/index.ts';
import { noopLogger } from '../../telemetry/index.ts';
import {
  FaultyClient,
  FaultyFileSystem,
  listAll,
  ltxLike,
  MemoryClient,
} from '../../testing/index.ts';
import { AppDatabase, contentOf } from '../../../test/support/app-database.ts';
import { databaseOptions, testPorts, type RecordingLogger } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { Database } from '../db/database.ts';
import { QueueBound } from './queue-bound.ts';

interface Remote {
  readonly store: MemoryClient;
  readonly client: FaultyClient;
}

interface Bench {
  readonly app: AppDatabase;
  readonly database: Database;
  readonly fileSystem: FaultyFileSystem;
  readonly logger: RecordingLogger;
  readonly queue: QueueBound;
  readonly remotes: readonly Remote[];
  readonly folder: string;
  readonly local: () => string[];
  /** Transactions, each a local file of its own; then what the given replicas can have goes up. */
  readonly commit: (count: number, to?: readonly number[]) => Promise<void>;
  readonly upload: (at?: number) => Promise<void>;
  readonly converged: (at?: number) => Promise<void>;
}

const BYTES_MAX = 150_000;

function bench(t: TestContext, replicas = 1): Bench {
  const folder = tempDir(t);
  const path = join(folder, 'app.db');
  const app = new AppDatabase(t, path);
  const fileSystem = new FaultyFileSystem(nodeFileSystem);
  const ports = testPorts({ fileSystem });
  const worker = new CheckpointWorker(systemClock);
  const remotes = Array.from({ length: replicas }, () => {
    const store = new MemoryClient();
    return { store, client: new FaultyClient(store) };
  });
  const options = databaseOptions(
    path,
    remotes.map(({ client }) => client),
  );
  const { logger } = ports;
  const database = new Database({ options, ports, worker, logger });
  t.after(async () => {
    await database.stopLoops();
    await database.release();
    await worker.close();
  });
  const upload = async (at = 0): Promise<void> => {
    const replica = database.replicas[at];
    assert.ok(replica !== undefined);
    await database.syncReplica(replica, database.txid);
  };
  let restores = 0;
  return {
    app,
    database,
    fileSystem,
    logger,
    queue: new QueueBound({ database, ports, logger, bytesMax: BYTES_MAX }),
    remotes,
    folder,
    local: () => readdirSync(`${path}-meta/ltx/0`).toSorted(),
    async commit(count, to = []) {
      for (let n = 0; n < count; n++) {
        app.insert(20);
        await database.sync();
      }
      for (const at of to) await upload(at);
    },
    upload,
    async converged(at = 0) {
      const client = remotes[at]?.store;
      assert.ok(client !== undefined);
      const outputPath = join(folder, `restored-${restores++}.db`);
      const target = { client, outputPath, target: {}, fileSystem: nodeFileSystem };
      await restoreDatabase({ ...target, clock: systemClock, logger: noopLogger });
      assert.equal(contentOf(outputPath), contentOf(path));
    },
  };
}

const file = (min: number, max = min): string => formatFileName(BigInt(min), BigInt(max));
const stored = async ({ store }: Remote): Promise<string[]> =>
  (await listAll(store, 0)).map(({ minTxid, maxTxid }) => formatFileName(minTxid, maxTxid));

/** The database grows with every commit, and the bound with it. */
async function overflow(scene: Bench, to: readonly number[] = []): Promise<void> {
  scene.app.exec('DELETE FROM t');
  await scene.commit(60, to);
}

test('B1 a queue above its bound becomes one file, and the replica catches up with it', async (t) => {
  const scene = bench(t);
  const { database, queue } = scene;
  await scene.commit(2, [0]);
  assert.equal(queue.isDue, false);
  await overflow(scene);
  assert.equal(queue.isDue, true);
  const last = Number(database.txid);
  await queue.enforce();
  assert.deepEqual(scene.local(), [
    file(1),
    file(2),
    file(3, last - 2),
    file(last - 1),
    file(last),
  ]);
  assert.deepEqual(scene.logger.messages(), [
    'a replica has been behind for long: restore points of this time were merged into one',
  ]);
  await scene.upload();
  assert.deepEqual(await stored(scene.remotes[0] as Remote), scene.local());
  await scene.converged();
  await scene.commit(2, [0]);
  await scene.converged();
});

test('B1 a queue below its bound stays as it is', async (t) => {
  const scene = bench(t);
  await scene.commit(1, [0]);
  await scene.commit(4);
  const before = scene.local();
  await scene.queue.enforce();
  assert.deepEqual(scene.local(), before);
  assert.deepEqual(scene.logger.messages(), []);
});

test('B1 a long outage merges again and again, and nothing is lost', async (t) => {
  const scene = bench(t);
  await scene.commit(1, [0]);
  for (let round = 0; round < 3; round++) {
    await overflow(scene);
    await scene.queue.enforce();
    assert.ok(scene.local().length <= 5, scene.local().join(' '));
  }
  await scene.upload();
  await scene.converged();
});

test('B1 files that another replica has are merged apart from those that it has not', async (t) => {
  const scene = bench(t, 2);
  await scene.commit(2, [0, 1]);
  await scene.commit(30, [1]);
  await overflow(scene);
  await scene.queue.enforce();
  const last = Number(scene.database.txid);
  assert.deepEqual(scene.local().slice(2), [
    file(3, 32),
    file(33, last - 2),
    file(last - 1),
    file(last),
  ]);
  for (const at of [0, 1]) {
    await scene.upload(at);
    await scene.converged(at);
  }
});

test('B1 a crash between the merged file and the removal of its inputs leaves a usable folder', async (t) => {
  const scene = bench(t);
  await scene.commit(2, [0]);
  await overflow(scene);
  const last = Number(scene.database.txid);
  scene.fileSystem.fail('EIO', { label: 'l0:remove', nth: 3 });
  await assert.rejects(scene.queue.enforce());
  assert.ok(scene.local().includes(file(3, last - 2)));
  assert.ok(scene.local().length > 10, 'inputs are left');
  const expected = [1n, 2n, BigInt(last - 2), BigInt(last - 1), BigInt(last)];
  assert.deepEqual(await scene.database.files.list(), expected);
  await scene.database.files.removeTemporary();
  assert.equal(scene.local().length, 5);
  await scene.upload();
  await scene.converged();
});

test('B1 a failure while merging leaves the queue as it was', async (t) => {
  for (const label of ['l0:merge', 'l0:fsync', 'l0:rename']) {
    const scene = bench(t);
    await scene.commit(2, [0]);
    await overflow(scene);
    const before = scene.local();
    scene.fileSystem.fail('ENOSPC', { label });
    await assert.rejects(scene.queue.enforce(), label);
    assert.deepEqual(scene.local(), before, label);
    await scene.upload();
    await scene.converged();
  }
});

test('B1 a merged file of an earlier run is taken up again', async (t) => {
  const scene = bench(t);
  await scene.commit(2, [0]);
  await overflow(scene);
  await scene.queue.enforce();
  const local = scene.local();
  await scene.database.release();
  await scene.commit(1);
  assert.equal(scene.local().length, local.length + 1, 'continuity holds');
  await scene.upload();
  await scene.converged();
});

test('B1 a replica that turns out to have the first part gets a snapshot instead', async (t) => {
  const scene = bench(t);
  await scene.commit(4, [0]);
  await overflow(scene);
  await scene.queue.enforce();
  const { files } = scene.database;
  const merged = (await files.list()).find((txid) => files.isMerged(txid));
  assert.ok(merged !== undefined);
  const { minTxid } = files.rangeOf(merged);
  // As if it had not been known where the replica stands: the file begins below.
  copyFileSync(files.pathOf(merged), join(files.folder, formatFileName(minTxid - 2n, merged)));
  await files.list();
  const replica = scene.database.replicas[0];
  assert.ok(replica !== undefined);
  let bridged = 0n;
  replica.setBridge(async ({ why }) => {
    assert.equal(why, 'files are gone');
    const { txid } = scene.database;
    const key = { level: 9, minTxid: toTxid(1), maxTxid: txid };
    await replica.skipTo(txid, { key, source: bytesSource(ltxLike(900)) });
    bridged = txid;
  });
  await scene.upload();
  assert.equal(bridged, scene.database.txid);
  assert.equal(replica.position, scene.database.txid);
});
