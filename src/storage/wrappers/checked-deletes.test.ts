import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { present } from '../../lib/assert.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import type { LogAttributes, Logger } from '../../telemetry/index.ts';
import {
  chunkedSource,
  FakeClock,
  fileKey,
  listAll,
  ltxLike,
  MemoryClient,
} from '../../testing/index.ts';
import { s3Location, FakeS3 } from '../../../test/support/fake-s3/index.ts';
import { OssServer } from '../../../test/support/servers/oss-server.ts';
import type { ReplicaClient } from '../contract.ts';
import type { OssLocation, ReplicaLocation } from '../locations.ts';
import { openReplica } from '../registry.ts';
import { checkedDeletes } from './checked-deletes.ts';
import { checkedLogger } from '../../../test/support/guarded.ts';

const KEYS = [1, 2, 3].map((txid) => fileKey(0, txid));
const TOLD = 'the store lists files that it has reported as deleted';

function recorder(): { lines: (readonly [string, LogAttributes])[]; logger: Logger } {
  const lines: (readonly [string, LogAttributes])[] = [];
  const logger = checkedLogger((level, message, attributes = {}) => {
    if (level === 'warn') lines.push([message, attributes]);
  });
  return { lines, logger };
}

async function countOf(client: ReplicaClient): Promise<number> {
  let files = 0;
  for await (const _file of client.list(0)) files += 1;
  return files;
}

async function fill(client: ReplicaClient): Promise<void> {
  for (const key of KEYS) await client.write(key, chunkedSource(ltxLike(200)));
}

describe('deleted files in a listing', () => {
  it('are told once an hour, after a minute in which listings may lag behind', async () => {
    const clock = new FakeClock();
    const { lines, logger } = recorder();
    const inner = new MemoryClient();
    const client = checkedDeletes(inner, { clock, logger });
    await fill(client);
    inner.delete = () => Promise.resolve();
    await client.delete(KEYS.slice(0, 2));
    await listAll(client, 0);
    await clock.advance(59_000);
    await listAll(client, 0);
    assert.equal(lines.length, 0);
    await clock.advance(1000);
    assert.equal((await listAll(client, 0)).length, 3, 'nothing is hidden');
    await listAll(client, 0);
    assert.equal(lines.length, 1);
    const [message, attributes] = present(lines.at(0), 'line');
    assert.equal(message, TOLD);
    assert.equal(attributes['key'], '0/0000000000000001-0000000000000001');
    assert.equal(attributes['count'], 2);
    assert.ok(JSON.stringify(attributes['hint']).includes('retention lock'));
    await clock.advance(3_600_000);
    await listAll(client, 0);
    await listAll(client, 0);
    assert.equal(lines.length, 2);
  });

  it('are fine if they were written again, and forgotten once they are gone', async () => {
    const clock = new FakeClock();
    const { lines, logger } = recorder();
    const inner = new MemoryClient();
    const client = checkedDeletes(inner, { clock, logger });
    await fill(client);
    await client.delete(KEYS);
    await client.write(fileKey(0, 1), chunkedSource(ltxLike(200)));
    await clock.advance(100_000);
    await listAll(client, 0);
    // Somebody else's business, from now on.
    await fill(inner);
    await listAll(client, 0);
    assert.equal(lines.length, 0);
  });

  it('are not looked for after a deletion that failed', async () => {
    const clock = new FakeClock();
    const { lines, logger } = recorder();
    const inner = new MemoryClient();
    const client = checkedDeletes(inner, { clock, logger });
    await fill(client);
    inner.delete = () => Promise.reject(new Error('no'));
    await assert.rejects(client.delete(KEYS));
    await clock.advance(100_000);
    await listAll(client, 0);
    assert.equal(lines.length, 0);
  });
});

function ossLocation({
  bucket,
  region,
  endpoint,
  accessKeyId,
  accessKeySecret,
}: OssServer): OssLocation {
  return {
    type: 'oss',
    bucket,
    path: 'p',
    region,
    endpoint,
    accessKeyId,
    secretAccessKey: accessKeySecret,
    partSizeBytes: undefined,
    concurrency: undefined,
  };
}

/** A minute after a deletion that was none, a client says so, once. */
async function tells(
  t: TestContext,
  location: ReplicaLocation,
  stopDeleting: () => void,
): Promise<void> {
  const { lines, logger } = recorder();
  const fake = new FakeClock(Date.now());
  const client = await openReplica(location, {
    clock: fake,
    fileSystem: nodeFileSystem,
    logger,
    environment: {},
  });
  t.after(() => client.close());
  await fill(client);
  stopDeleting();
  await client.delete(KEYS);
  await fake.advance(61_000);
  assert.equal(await countOf(client), 3);
  await countOf(client);
  assert.deepEqual(
    lines.map(([message, { count }]) => [message, count]),
    [[TOLD, 3]],
  );
}

describe('a store that reports batch deletions that it did not do is told', () => {
  it('s3, where the deletion itself is not checked', async (t) => {
    const store = await FakeS3.start(t);
    const { accessKeyId, secretAccessKey } = store.rules.secrets;
    const keys = { accessKeyId, secretAccessKey };
    const location = s3Location({ ...keys, endpoint: store.endpoint, region: 'us-east-1' });
    await tells(t, location, () => {
      store.rules.keepsDeleted = 'always';
      // Whoever asks for a single object is told that it is gone.
      store.rules.fault = ({ method }) => (method === 'HEAD' ? { status: 404 } : undefined);
    });
  });

  it('oss', async (t) => {
    const store = await OssServer.start(t);
    await tells(t, ossLocation(store), () => {
      store.keepsDeleted = true;
    });
  });
});
