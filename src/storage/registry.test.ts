import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { nodeFileSystem } from '../lib/file-system.ts';
import type { LogAttributes } from '../telemetry/index.ts';
import { FakeClock, FaultyFileSystem, fileKey, listAll, ltxLike } from '../testing/index.ts';
import { bytesSource, openFileReplica, readAll } from './index.ts';
import { checkedLogger } from '../../test/support/guarded.ts';

const KEY = fileKey(0, 1);

describe('opening replicas', () => {
  let folder: string;
  const clock = new FakeClock();
  const options = { fileSystem: nodeFileSystem, clock };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'litestream-registry-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('opens a folder', async () => {
    const client = await openFileReplica(`${folder}/r/`, options);
    assert.equal(client.type, 'file');
    await client.write(KEY, bytesSource(ltxLike(100)));
    assert.equal((await listAll(client, 0)).length, 1);
    await assert.rejects(openFileReplica('', options), {
      code: 'ERR_STORAGE_URL',
      message: 'file replica path required',
    });
  });

  it('logs deletions at debug', async () => {
    const records: [string, LogAttributes | undefined][] = [];
    const logger = checkedLogger((level, message, attributes) => {
      records.push([`${level} ${message}`, attributes]);
    });
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
