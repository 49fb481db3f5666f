import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toTxid } from '../../formats/ltx/index.ts';
import { bytesSource, readAll, type FileInfo, type FileKey } from '../../storage/index.ts';
import {
  FakeClock,
  FaultyClient,
  fileKey,
  listAll,
  ltxLike,
  MemoryClient,
} from '../../testing/index.ts';
import { WriterGuard } from './writer-guard.ts';

const SNAPSHOT = fileKey(9, 1, 6);
const NUMBER = fileKey(0, 6);
const POSITION = toTxid(1);

/** A guard at position 1 that writes the snapshot of transaction 6. */
function openGuard(): {
  readonly guard: WriterGuard;
  readonly store: MemoryClient;
  readonly client: FaultyClient;
  readonly bridge: (version?: number) => Promise<{ file: FileInfo; claimed: FileInfo | undefined }>;
  readonly names: () => Promise<string[]>;
} {
  const store = new MemoryClient();
  const client = new FaultyClient(store);
  const guard = new WriterGuard(client, new FakeClock());
  const number = bytesSource(ltxLike(300, 6000, 6));
  return {
    guard,
    store,
    client,
    bridge: (version = 1) =>
      guard.writeAhead(
        { key: SNAPSHOT, source: bytesSource(ltxLike(200_000, 6000, version)) },
        () => guard.writeNew(NUMBER, number, undefined),
        undefined,
      ),
    names: async () => {
      const files = [...(await listAll(store, 0)), ...(await listAll(store, 9))];
      return files.map(({ level, maxTxid }) => `${level}/${maxTxid}`);
    },
  };
}

function read(store: MemoryClient, key: FileKey): Promise<Uint8Array> {
  return readAll(store, key);
}

test('a bridge has worked if only the acknowledgement of its number got lost', async () => {
  const { bridge, client, names } = openGuard();
  client.inject({ operation: 'write', kind: 'after', nth: 2 });
  const { claimed, file } = await bridge();
  assert.deepEqual([claimed?.maxTxid, file.maxTxid], [6n, 6n]);
  assert.deepEqual(await names(), ['0/6', '9/6']);
});

test('a number that was not stored is not claimed, and its snapshot goes', async () => {
  const { bridge, client, guard, names } = openGuard();
  client.inject({ operation: 'write', kind: 'before', nth: 2 });
  await assert.rejects(bridge(), { code: 'ERR_STORAGE_TEMPORARY' });
  assert.deepEqual(await names(), []);
  assert.equal(guard.conflict, undefined);
});

test('E11 a number without its snapshot is taken back once the store tells that it is ours', async () => {
  const { bridge, client, guard, names, store } = openGuard();
  client.inject({ operation: 'write', kind: 'after', nth: 2 });
  client.inject({ operation: 'read', kind: 'before', times: 2 });
  await assert.rejects(bridge(), { code: 'ERR_STORAGE_TEMPORARY' });
  assert.deepEqual(await names(), ['0/6'], 'nothing could be proven yet');
  await store.write(fileKey(0, 2), bytesSource(ltxLike(300, 2000, 99)));
  await assert.rejects(guard.lookEverywhere(POSITION, undefined), { code: 'ERR_WRITER_CONFLICT' });
  assert.deepEqual(await names(), ['0/2'], 'the other writer can be restored');
});

test('OPS-19 a number that another writer took is left alone', async () => {
  const { bridge, client, guard, names, store } = openGuard();
  client.inject({ operation: 'write', kind: 'before', nth: 2 });
  await assert.rejects(bridge(), { code: 'ERR_STORAGE_TEMPORARY' });
  await store.write(NUMBER, bytesSource(ltxLike(300, 6000, 99)));
  await assert.rejects(bridge(), { code: 'ERR_WRITER_CONFLICT' });
  assert.deepEqual(await names(), ['0/6']);
  assert.deepEqual(await read(store, NUMBER), ltxLike(300, 6000, 99));
  assert.ok(guard.conflict);
});

test('a snapshot that was tried before is replaced by a newer version of it', async () => {
  const { bridge, client, names, store } = openGuard();
  client.inject({ operation: 'write', kind: 'after' });
  client.inject({ operation: 'delete', kind: 'before' });
  await assert.rejects(bridge(1), { code: 'ERR_STORAGE_TEMPORARY' });
  assert.deepEqual(await names(), ['9/6'], 'only the acknowledgement got lost');
  await bridge(2);
  assert.deepEqual(await names(), ['0/6', '9/6']);
  assert.deepEqual(await read(store, SNAPSHOT), ltxLike(200_000, 6000, 2));
});

test('OPS-19 a snapshot of another writer is not replaced because one of that name was tried', async () => {
  for (const theirs of [
    ltxLike(200_000, 6000, 99),
    ltxLike(199_999, 6000, 1),
    ltxLike(200_001, 6000, 1),
    ltxLike(150, 6000, 1),
  ]) {
    const { bridge, client, names, store } = openGuard();
    client.inject({ operation: 'write', kind: 'before' });
    client.inject({ operation: 'delete', kind: 'before' });
    await assert.rejects(bridge(1), { code: 'ERR_STORAGE_TEMPORARY' });
    await store.write(SNAPSHOT, bytesSource(theirs));
    await assert.rejects(bridge(2), { code: 'ERR_WRITER_CONFLICT' });
    assert.deepEqual(await names(), ['9/6']);
    assert.deepEqual(await read(store, SNAPSHOT), theirs);
  }
});
