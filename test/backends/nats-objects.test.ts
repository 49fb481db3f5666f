/** Objects in a NATS bucket: what they look like to others, and what others may have written. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { Objm, type ObjectStore } from '@nats-io/obj';
import { connect, headers, type NatsConnection, nuid } from '@nats-io/transport-node';
import { systemClock } from '../../src/lib/clock.ts';
import { isLitestreamError } from '../../src/lib/errors.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import {
  bytesSource,
  readAll,
  readRange,
  type NatsLocation,
  type ReplicaClient,
} from '../../src/storage/index.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../../src/testing/index.ts';
import { Forwarder, type ServerProcess, startNatsServer } from '../support/servers/index.ts';
import { natsLocation } from './nats-location.ts';
import { checkedLogger, openReplica } from '../support/guarded.ts';

const NAME = 'ltx/0/0000000000000001-0000000000000001.ltx';
const KEY = fileKey(0, 1);

interface Bench {
  readonly client: ReplicaClient;
  /** The library's object store on the same bucket. */
  readonly store: ObjectStore;
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly bucket: string;
  readonly forwarder: Forwarder;
  readonly server: ServerProcess;
  /** Warnings of the clients. */
  readonly warnings: readonly string[];
  open(settings?: Partial<NatsLocation>): Promise<ReplicaClient>;
}

async function bench(t: TestContext, config = ''): Promise<Bench | undefined> {
  const nats = await startNatsServer(t, { config });
  if (nats === undefined) return undefined;
  const { bucket } = nats;
  const connection = await connect({ servers: nats.url });
  t.after(() => connection.close());
  const forwarder = await Forwarder.start(t, nats.port);
  const warnings: string[] = [];
  const logger = checkedLogger((level, message) => {
    if (level === 'warn') warnings.push(message);
  });
  const open = async (settings: Partial<NatsLocation> = {}): Promise<ReplicaClient> => {
    const location = natsLocation(`nats://127.0.0.1:${forwarder.port}`, bucket, settings);
    const ports = { clock: systemClock, fileSystem: nodeFileSystem, logger };
    const client = await openReplica(location, ports);
    t.after(() => client.close());
    return client;
  };
  return {
    client: await open(),
    store: await new Objm(connection).open(bucket),
    connection,
    manager: await jetstreamManager(connection),
    bucket,
    forwarder,
    server: nats.server,
    warnings,
    open,
  };
}

/** Number of messages in the bucket whose subject begins like this. */
async function count({ manager, bucket }: Bench, kind: 'C' | 'M'): Promise<number> {
  const filter = `$O.${bucket}.${kind}.>`;
  const { state } = await manager.streams.info(`OBJ_${bucket}`, { subjects_filter: filter });
  return Object.values(state.subjects ?? {}).reduce((sum, each) => sum + each, 0);
}

/** An object as the reference writes it from a pipe: a chunk for each little write. */
async function putInPieces(
  { connection, bucket }: Bench,
  bytes: Uint8Array,
  sizes: readonly number[],
): Promise<void> {
  const publisher = jetstream(connection);
  const id = nuid.next();
  let chunks = 0;
  for (let at = 0; at < bytes.length; chunks += 1) {
    const size = sizes[chunks % sizes.length] ?? 1;
    await publisher.publish(`$O.${bucket}.C.${id}`, bytes.subarray(at, at + size));
    at += size;
    // Other writers use the same stream.
    if (chunks % 3 === 0) await publisher.publish(`$O.${bucket}.C.other`, 'x');
  }
  const sum = createHash('sha256').update(bytes).digest('base64');
  const document = {
    name: NAME,
    options: { max_chunk_size: 131_072 },
    bucket,
    nuid: id,
    size: bytes.length,
    mtime: '0001-01-01T00:00:00Z',
    chunks,
    digest: `SHA-256=${sum.replaceAll('+', '-').replaceAll('/', '_')}`,
  };
  const rollup = headers();
  rollup.set('Nats-Rollup', 'sub');
  const subject = `$O.${bucket}.M.${Buffer.from(NAME).toString('base64')}`;
  await publisher.publish(subject, JSON.stringify(document), { headers: rollup });
}

test('BKD-25 writes full chunks, and the meta document of the reference, byte for byte', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const bytes = ltxLike(300_000, 1_767_323_045_670);
  await it.client.write(KEY, chunkedSource(bytes, 777));
  const subject = `$O.${it.bucket}.M.${Buffer.from(NAME).toString('base64')}`;
  const stored = await it.manager.streams.getMessage(`OBJ_${it.bucket}`, { last_by_subj: subject });
  assert.ok(stored !== null);
  const digest = createHash('sha256').update(bytes).digest('base64url');
  const id = stored.json<{ nuid: string }>().nuid;
  assert.match(id, /^[0-9A-Za-z]{22}$/);
  assert.equal(
    new TextDecoder().decode(stored.data),
    `{"name":"${NAME}","headers":{"Litestream-Timestamp":["2026-01-02T03:04:05.67Z"]},` +
      `"options":{"max_chunk_size":131072},"bucket":"${it.bucket}","nuid":"${id}","size":300000,` +
      `"mtime":"0001-01-01T00:00:00Z","chunks":3,"digest":"SHA-256=${digest}="}`,
  );
  assert.equal(stored.header.get('Nats-Rollup'), 'sub');
  assert.equal(await count(it, 'C'), 3, 'full chunks');
});

test('the object store of the library reads ours, and we read its', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const bytes = ltxLike(700_001);
  await it.client.write(KEY, bytesSource(bytes));
  assert.deepEqual(await it.store.getBlob(NAME), bytes);
  const theirs = ltxLike(500_000, 1_700_000_000_123, 7);
  await it.store.putBlob({ name: NAME.replaceAll('1', '2') }, theirs);
  assert.deepEqual(await readAll(it.client, fileKey(0, 2)), theirs);
});

test('reads ranges of an object whose chunks have all sizes', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const size = 900_000;
  const bytes = ltxLike(size);
  await putInPieces(it, bytes, [100, 4, 6, 4096, 1, 30_000]);
  assert.deepEqual(await readAll(it.client, KEY), bytes);
  for (const [offset, length] of [
    [0, 100],
    [262_143, 1],
    [262_144, 70_000],
    [500_000, 0],
    [size - 24, 16],
    [size - 1, 0],
    [size - 32_768, 0],
    [size, 0],
  ] as const) {
    const found = await readRange(it.client, KEY, { offset, size: length });
    const end = length === 0 ? size : offset + length;
    assert.deepEqual(found, bytes.subarray(offset, end), `${offset}, ${length}`);
  }
});

test('a range costs its own chunks, not what lies before', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const size = 20 << 20;
  await it.client.write(KEY, bytesSource(ltxLike(size)));
  await readRange(it.client, KEY, { offset: 300_000, size: 10 });
  const before = it.forwarder.bytes;
  await readRange(it.client, KEY, { offset: size - 5000, size: 4096 });
  assert.ok(it.forwarder.bytes - before < 400_000, `${it.forwarder.bytes - before} bytes`);
});

test('a reader that takes its time does not fill the memory', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const bytes = ltxLike(40 << 20);
  await it.client.write(KEY, bytesSource(bytes));
  const before = it.forwarder.bytes;
  const found = createHash('sha256');
  let position = 0;
  for await (const chunk of it.client.read(KEY)) {
    found.update(chunk);
    position += chunk.length;
    if (position > 2 << 20 && position < (2 << 20) + 200_000) {
      await sleep(300);
      const ahead = it.forwarder.bytes - before - position;
      assert.ok(ahead < 8 << 20, `${ahead} bytes ahead of the reader`);
    }
  }
  assert.equal(found.digest('hex'), createHash('sha256').update(bytes).digest('hex'));
});

test('does not hand out the end of an object that is not what was stored', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const bytes = ltxLike(5000);
  await putInPieces(it, bytes, [1000]);
  const info = await it.store.info(NAME);
  assert.ok(info !== null);
  const other = Buffer.from(bytes);
  other[4321] = (other[4321] ?? 0) ^ 1;
  await it.manager.streams.purge(`OBJ_${it.bucket}`, { filter: `$O.${it.bucket}.C.${info.nuid}` });
  await jetstream(it.connection).publish(`$O.${it.bucket}.C.${info.nuid}`, other);
  await assert.rejects(readAll(it.client, KEY), /corrupt: digests do not match/);
});

test('BKD-09 takes the time from the LTX header where the object has none', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const bytes = ltxLike(3000, 1_600_000_000_123);
  await it.store.putBlob({ name: NAME }, bytes);
  const [file] = await listAll(it.client, 0);
  assert.equal(file?.createdAt, 1_600_000_000_123);
  await listAll(it.client, 0);
  assert.deepEqual(it.warnings, ['object has no timestamp, reading it from the ltx header']);
  for await (const cheap of it.client.list(0)) assert.ok(cheap.createdAt > 1_700_000_000_000);
});

test('a deleted object leaves nothing behind, neither does a mark of the reference', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  await it.client.write(KEY, bytesSource(ltxLike(300_000)));
  await it.store.putBlob({ name: NAME.replaceAll('1', '2') }, ltxLike(1000));
  await it.store.delete(NAME.replaceAll('1', '2'));
  assert.equal(await count(it, 'M'), 2);
  await it.client.delete([KEY, fileKey(0, 2), fileKey(0, 3)]);
  assert.deepEqual([await count(it, 'M'), await count(it, 'C')], [0, 0]);
});

test('creates an object only if there is none', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const exists = { code: 'ERR_STORAGE_EXISTS' };
  const write = (seed: number): Promise<unknown> =>
    it.client.write(KEY, bytesSource(ltxLike(200_000, 1, seed)), { ifAbsent: true });
  const racers = await Promise.allSettled([1, 2, 3, 4].map(write));
  assert.equal(racers.filter(({ status }) => status === 'fulfilled').length, 1);
  for (const racer of racers) {
    if (racer.status === 'fulfilled') continue;
    assert.ok(isLitestreamError(racer.reason, 'ERR_STORAGE_EXISTS'), String(racer.reason));
  }
  await assert.rejects(write(5), exists);
  assert.equal(await count(it, 'C'), 2, 'chunks of those who lost are gone');
  await it.store.delete(NAME);
  await write(6);
  await assert.rejects(write(7), exists);
});

test('writers of one name leave no chunks of those that were replaced', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  await Promise.all(
    [1, 2, 3, 4, 5].map((seed) => it.client.write(KEY, bytesSource(ltxLike(10_000, 1, seed)))),
  );
  assert.deepEqual([await count(it, 'M'), await count(it, 'C')], [1, 1]);
});

test('keeps below what a server takes as one message', async (t) => {
  const it = await bench(t, 'max_payload: 20000');
  if (it === undefined) return;
  const bytes = ltxLike(100_000);
  await it.client.write(KEY, bytesSource(bytes));
  assert.deepEqual(await readAll(it.client, KEY), bytes);
});

test('says that the bucket is full', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const { config } = await it.manager.streams.info(`OBJ_${it.bucket}`);
  await it.manager.streams.update(`OBJ_${it.bucket}`, { ...config, max_bytes: 200_000 });
  await assert.rejects(it.client.write(KEY, bytesSource(ltxLike(900_000))), {
    code: 'ERR_DISK_FULL',
    message: /^failed to put object ltx\/0\/.*maximum bytes exceeded/,
  });
  assert.equal(await count(it, 'C'), 0);
});

test('BKD-17 a connection that was cut is made again for the next operation', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  for (let txid = 1; txid <= 4; txid += 1) {
    await it.client.write(fileKey(0, txid), bytesSource(ltxLike(1000)));
    it.forwarder.cut();
    assert.equal((await listAll(it.client, 0)).length, txid);
    it.forwarder.cut();
  }
});

test('BKD-17 a connection that breaks in the middle costs a repetition', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const bytes = ltxLike(6 << 20);
  it.forwarder.cutAfter(3 << 20);
  await it.client.write(KEY, bytesSource(bytes));
  it.forwarder.cutAfter(3 << 20);
  assert.deepEqual(await readAll(it.client, { ...KEY, size: bytes.length }), bytes);
  assert.equal(it.forwarder.connections, 3);
});

test('a silent server is given up, an abort and a close do not wait for it', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const hasty = await it.open({ timeoutMs: 400 });
  await hasty.init();
  await it.client.init();
  it.server.pause();
  await assert.rejects(listAll(hasty, 0), { code: 'ERR_STORAGE_TEMPORARY', message: /timeout/ });
  const stop = new AbortController();
  const listing = it.client.list(0, { signal: stop.signal })[Symbol.asyncIterator]().next();
  const closing = it.client.list(0)[Symbol.asyncIterator]().next();
  const outcomes = Promise.allSettled([listing, closing]);
  stop.abort();
  await assert.rejects(listing, { code: 'ERR_ABORTED' });
  await it.client.close();
  await outcomes;
  await assert.rejects(closing, { code: 'ERR_ABORTED' });
  await assert.rejects(it.client.init(), { code: 'ERR_ABORTED' });
  it.server.resume();
});
