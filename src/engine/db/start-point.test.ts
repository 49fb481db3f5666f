import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { toTxid } from '../../formats/ltx/index.ts';
import { bytesSource, type ReplicaClient } from '../../storage/index.ts';
import { FakeClock, FaultyClient, fileKey, ltxLike, MemoryClient } from '../../testing/index.ts';
import { localFiles, replicaOptions, testPorts } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { Replica } from '../replica/replica.ts';
import type { LocalFiles } from './local-files.ts';
import { chooseStartPoint, type StartPoint } from './start-point.ts';

interface Bench {
  readonly files: LocalFiles;
  readonly clock: FakeClock;
  readonly replicas: readonly Replica[];
  readonly choose: () => Promise<StartPoint>;
}

/** Local files with the given numbers, and replicas. */
async function openBench(
  t: TestContext,
  local: readonly number[],
  clients: readonly ReplicaClient[],
): Promise<Bench> {
  const path = join(tempDir(t), 'app.db');
  writeFileSync(path, '');
  const files = await localFiles(path);
  await files.makeFolder();
  for (const txid of local) writeFileSync(files.pathOf(toTxid(txid)), ltxLike(200));
  const clock = new FakeClock();
  const ports = testPorts({ clock });
  const { logger } = ports;
  const replicas = clients.map(
    (client) => new Replica(replicaOptions(client), files, logger, ports),
  );
  const { signal } = new AbortController();
  const choose = (): Promise<StartPoint> =>
    chooseStartPoint({ files, replicas, clock, logger, signal });
  return { files, clock, replicas, choose };
}

/** The local files were listed, and replicas are waited for. */
async function waiting(clock: FakeClock): Promise<void> {
  while (clock.pending === 0) await clock.settle();
}

/** A replica with files: [level, first TXID, last TXID]. */
async function remote(
  ...files: readonly (readonly [level: number, min: number, max: number])[]
): Promise<MemoryClient> {
  const client = new MemoryClient();
  for (const [level, min, max] of files) {
    await client.write(fileKey(level, min, max), bytesSource(ltxLike(300, 1000 * max, max)));
  }
  return client;
}

test('nothing anywhere: numbers begin at 1', async (t) => {
  const { choose, replicas } = await openBench(t, [], [await remote()]);
  const { anchor, lastTxid, heard } = await choose();
  assert.deepEqual([anchor, lastTxid], [0n, 0n]);
  assert.deepEqual([...heard], [...replicas]);
});

test('E2 local files that are ahead go on', async (t) => {
  const { choose, files } = await openBench(t, [3, 4, 5], [await remote([0, 2, 2], [9, 1, 2])]);
  const { anchor, lastTxid } = await choose();
  assert.deepEqual([anchor, lastTxid], [5n, 5n]);
  assert.deepEqual(await files.list(), [3n, 4n, 5n]);
});

test('E2 as far as the replica: local files go on', async (t) => {
  const { choose } = await openBench(t, [5], [await remote([0, 5, 5])]);
  assert.equal((await choose()).anchor, 5n);
});

test('E2 a replica that is ahead wins: its newest level-0 file is the anchor', async (t) => {
  const client = await remote([0, 7, 7], [0, 8, 8], [9, 1, 6]);
  const { choose, files } = await openBench(t, [1, 2], [client]);
  const { anchor, lastTxid } = await choose();
  assert.deepEqual([anchor, lastTxid], [8n, 8n]);
  assert.deepEqual(await files.list(), [8n]);
  assert.deepEqual(
    Buffer.from(readFileSync(files.pathOf(toTxid(8)))),
    Buffer.from(ltxLike(300, 8000, 8)),
  );
});

for (const level of [1, 2, 9]) {
  test(`E2 without level 0 the numbers go on behind level ${level}, without an anchor`, async (t) => {
    const { choose, files } = await openBench(t, [1, 2], [await remote([level, 1, 30])]);
    const { anchor, lastTxid } = await choose();
    assert.deepEqual([anchor, lastTxid], [0n, 30n]);
    assert.deepEqual(await files.list(), [], 'what is local continues another history');
  });
}

test('E2 an old level-0 file is no anchor where a higher level reaches further', async (t) => {
  const { choose } = await openBench(t, [], [await remote([0, 10, 10], [1, 1, 30])]);
  const { anchor, lastTxid } = await choose();
  assert.deepEqual([anchor, lastTxid], [0n, 30n]);
});

test('a silent replica is waited for a second, then decides nothing', async (t) => {
  const silent = new FaultyClient(await remote([0, 9, 9]));
  silent.inject({ operation: 'list', kind: 'hang' });
  const { choose, clock } = await openBench(t, [4], [silent]);
  const chosen: StartPoint[] = [];
  const choosing = choose().then((found) => chosen.push(found));
  await waiting(clock);
  await clock.advance(999);
  assert.deepEqual(chosen, []);
  await clock.advance(1);
  await choosing;
  assert.deepEqual(
    chosen.map(({ anchor, lastTxid, heard }) => [anchor, lastTxid, ...heard]),
    [[4n, 4n]],
  );
});

test('a replica that fails is not waited for', async (t) => {
  const down = new FaultyClient(await remote([0, 9, 9]));
  down.setDown(true);
  const { choose, clock } = await openBench(t, [4], [down]);
  const start = await choose();
  assert.equal(start.lastTxid, 4n);
  assert.equal(start.heard.size, 0);
  assert.equal(clock.pending, 0, 'no timer is left');
});

test('of several replicas the furthest one wins, and the silent one is not among the heard', async (t) => {
  const silent = new FaultyClient(await remote([0, 99, 99]));
  silent.inject({ operation: 'init', kind: 'hang' });
  const clients = [await remote([0, 5, 5]), await remote([0, 8, 8]), silent];
  const { choose, clock, replicas } = await openBench(t, [2], clients);
  const chosen = choose();
  await waiting(clock);
  await clock.advance(1000);
  const { anchor, heard } = await chosen;
  assert.equal(anchor, 8n);
  assert.deepEqual([...heard], replicas.slice(0, 2));
});

test('a download that fails leaves nothing half-written, and is tried again', async (t) => {
  const client = new FaultyClient(await remote([0, 8, 8]));
  client.inject({ operation: 'read', kind: 'partial', amount: 50 });
  const { choose, files } = await openBench(t, [1], [client]);
  await assert.rejects(choose(), { code: 'ERR_STORAGE_TEMPORARY' });
  assert.deepEqual(readdirSync(files.folder), []);
  assert.equal((await choose()).anchor, 8n);
});

test('a store that lists and then never reads does not hold up the start', async (t) => {
  const client = new FaultyClient(await remote([0, 5, 5]));
  client.inject({ operation: 'read', kind: 'hang' });
  const { choose, clock } = await openBench(t, [5], [client]);
  const chosen = choose();
  await waiting(clock);
  await clock.advance(1000);
  const { anchor, heard } = await chosen;
  assert.equal(anchor, 5n);
  assert.deepEqual([...heard], []);
});

test('a download that gets no byte for long is given up, and tried again', async (t) => {
  const client = new FaultyClient(await remote([0, 8, 8]));
  client.inject({ operation: 'read', kind: 'hang', amount: 50 });
  const { choose, clock, files } = await openBench(t, [1], [client]);
  const chosen = assert.rejects(choose(), { code: 'ERR_TIMEOUT', retryable: true });
  for (let round = 0; round < 20; round++) await clock.settle();
  await waiting(clock);
  await clock.advance(30_000);
  await chosen;
  assert.deepEqual(readdirSync(files.folder), []);
  assert.equal((await choose()).anchor, 8n);
});
