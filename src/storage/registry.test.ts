import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { nodeFileSystem } from '../lib/file-system.ts';
import type { LogAttributes, Logger } from '../telemetry/index.ts';
import {
  FakeClock,
  FaultyFileSystem,
  fileKey,
  listAll,
  ltxLike,
  replicaClientSuite,
} from '../testing/index.ts';
import { bytesSource, openFileReplica, openReplicaClient, readAll } from './index.ts';

const KEY = fileKey(0, 1);

replicaClientSuite('file, opened by URL', async () => {
  const root = await mkdtemp(join(tmpdir(), 'litestream-url-'));
  const options = { fileSystem: nodeFileSystem, clock: new FakeClock() };
  return {
    open: (path) => {
      const encoded = path
        .split('/')
        .map((part) => encodeURIComponent(part))
        .join('/');
      return openReplicaClient(`file://${root}/${encoded}`, options);
    },
    dispose: () => rm(root, { recursive: true }),
  };
});

describe('opening replicas', () => {
  let folder: string;
  const clock = new FakeClock();
  const options = { fileSystem: nodeFileSystem, clock };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'litestream-registry-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('opens a folder by path and by URL as one location', async () => {
    const byPath = await openFileReplica(`${folder}/r/`, options);
    const byUrl = await openReplicaClient(`file://${folder}/x/../r`, options);
    assert.equal(byPath.type, 'file');
    assert.equal(byPath.location, byUrl.location);
    await byPath.write(KEY, bytesSource(ltxLike(100)));
    assert.equal((await listAll(byUrl, 0)).length, 1);
  });

  it('decodes a file URL, unless a folder of the encoded name exists', async () => {
    for (const url of [`file://${folder}/my dir`, `file://${folder}/my%20dir`]) {
      assert.equal((await openReplicaClient(url, options)).location, join(folder, 'my dir'));
    }
    await mkdir(join(folder, 'my%20dir'));
    for (const url of [`file://${folder}/my dir`, `file://${folder}/my%20dir`]) {
      assert.equal((await openReplicaClient(url, options)).location, join(folder, 'my%20dir'));
    }
    assert.deepEqual(await readdir(folder), ['my%20dir']);
  });

  it('refuses what this version cannot open', async () => {
    const cases = {
      's3://b/p': 'replica type "s3" is not supported in this version (supported: file)',
      'webdavs://h/p': 'replica type "webdav" is not supported in this version (supported: file)',
      's3:///p': 'bucket required for s3 replica URL',
      'bogus://x': 'unsupported replica URL scheme: "bogus"',
      '/r': 'replica url scheme required: /r',
      'file://': 'file replica path required',
    };
    for (const [url, message] of Object.entries(cases)) {
      await assert.rejects(openReplicaClient(url, options), { code: 'ERR_STORAGE_URL', message });
    }
    await assert.rejects(openFileReplica('', options), { message: 'file replica path required' });
  });

  it('logs deletions at debug', async () => {
    const records: [string, LogAttributes | undefined][] = [];
    const logger: Logger = {
      log(level, message, attributes) {
        records.push([`${level} ${message}`, attributes]);
      },
      enabled: () => true,
      with: () => logger,
    };
    const client = await openFileReplica(folder, { ...options, logger });
    await client.delete([KEY, fileKey(1, 2, 3)]);
    assert.deepEqual(records, [
      [
        'debug deleting ltx file',
        { level: 0, minTXID: 1n, maxTXID: 1n, path: client.localPath?.(KEY) },
      ],
      [
        'debug deleting ltx file',
        { level: 1, minTXID: 2n, maxTXID: 3n, path: client.localPath?.(fileKey(1, 2, 3)) },
      ],
    ]);
  });

  it('resumes reads that the disk interrupts', async () => {
    const fileSystem = new FaultyFileSystem(nodeFileSystem);
    const ownClock = new FakeClock();
    const client = await openFileReplica(folder, { fileSystem, clock: ownClock });
    const bytes = ltxLike(2_000_000);
    const info = await client.write(KEY, bytesSource(bytes));
    // The timer of the file's exact time.
    await ownClock.advance(50);
    fileSystem.fail('EIO', { label: 'file:read', nth: 3 });
    const reading = readAll(client, info);
    while (ownClock.pending === 0 || (ownClock.nextTimerIn ?? 0) > 1000) await ownClock.settle();
    await ownClock.advance(250);
    assert.ok(Buffer.from(bytes).equals(await reading));
  });

  it('asks for the ownership at each write', async () => {
    let asked = 0;
    const ownership = (): Promise<Record<string, never>> => {
      asked++;
      return Promise.resolve({});
    };
    const client = await openFileReplica(folder, { ...options, ownership });
    await client.write(KEY, bytesSource(ltxLike(100)));
    await client.write(KEY, bytesSource(ltxLike(100)));
    assert.equal(asked, 2);
  });
});
