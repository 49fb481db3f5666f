import assert from 'node:assert/strict';
import { isLitestreamError } from '../../lib/errors.ts';
import {
  bytesSource,
  type FileKey,
  readAll,
  type ReplicaClient,
  type WriteSource,
} from '../../storage/index.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../ltx-like.ts';
import { check, type Suite } from './contract.ts';

/** Holds back the end of its bytes until it is let go. */
function gatedSource(bytes: Uint8Array): {
  readonly source: WriteSource;
  readonly started: Promise<void>;
  readonly release: () => void;
} {
  const started = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const half = Math.ceil(bytes.length / 2);
  const source: WriteSource = {
    size: bytes.length,
    async *stream() {
      yield bytes.subarray(0, half);
      started.resolve();
      await gate.promise;
      yield bytes.subarray(half);
    },
  };
  return { source, started: started.promise, release: () => gate.resolve() };
}

export function concurrencyTests(suite: Suite): void {
  check(suite, 'shows a file only when it is complete', async ({ client }) => {
    const key = fileKey(0, 1);
    const bytes = ltxLike(400_000);
    const { source, started, release } = gatedSource(bytes);
    const write = client.write(key, source);
    await started;
    assert.deepEqual(await listAll(client, 0), []);
    await assert.rejects(readAll(client, key), { code: 'ERR_STORAGE_NOT_FOUND' });
    release();
    await write;
    assert.deepEqual(await readAll(client, key), bytes);
  });

  check(suite, 'shows the old file until the new one is complete', async ({ client }) => {
    const key = fileKey(0, 1);
    const [old, fresh] = [ltxLike(2000, 1, 1), ltxLike(400_000, 2, 2)];
    await client.write(key, bytesSource(old));
    const { source, started, release } = gatedSource(fresh);
    const write = client.write(key, source);
    await started;
    assert.deepEqual(await readAll(client, key), old);
    assert.equal((await listAll(client, 0)).length, 1);
    release();
    await write;
    assert.deepEqual(await readAll(client, key), fresh);
  });

  parallelTests(suite);
}

/** The file; undefined in a gap that the provider cannot help. */
async function readUnlessGap(
  suite: Suite,
  client: ReplicaClient,
  key: FileKey,
): Promise<Uint8Array | undefined> {
  try {
    return await readAll(client, key);
  } catch (error) {
    const isGap = isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND');
    if (isGap && suite.capabilities.replacesWithGap === true) return undefined;
    throw error;
  }
}

function parallelTests(suite: Suite): void {
  check(suite, 'writes different files at the same time', async ({ client }) => {
    const keys = Array.from({ length: 20 }, (_, index) => fileKey(index % 3, index + 1));
    const content = (index: number): Uint8Array => ltxLike(3000 + index, 1, index);
    await Promise.all(
      keys.map((key, index) => client.write(key, chunkedSource(content(index), 700))),
    );
    for (const [index, key] of keys.entries()) {
      assert.deepEqual(await readAll(client, key), content(index));
    }
  });

  check(suite, 'keeps one of several writers of one file, whole', async ({ client, remote }) => {
    const key = fileKey(0, 1);
    const second = await remote.open('p');
    const versions = [1, 2, 3, 4, 5, 6].map((seed) => ltxLike(50_000 + seed * 1000, 1, seed));
    await Promise.all(
      versions.map((bytes, index) =>
        (index % 2 === 0 ? client : second).write(key, chunkedSource(bytes, 999)),
      ),
    );
    const stored = await readAll(client, key);
    assert.ok(
      versions.some((bytes) => Buffer.from(bytes).equals(stored)),
      'one version',
    );
    const [file, ...more] = await listAll(client, 0);
    assert.deepEqual([file?.size, more], [stored.length, []]);
    await second.close();
  });

  check(suite, 'never shows readers a mixture', async ({ client }) => {
    const key = fileKey(0, 1);
    const versions = [1, 2, 3, 4].map((seed) => ltxLike(100_000 + seed, 1, seed));
    const [first] = versions;
    assert.ok(first !== undefined);
    await client.write(key, bytesSource(first));
    const writing = async (): Promise<void> => {
      for (const bytes of versions) await client.write(key, bytesSource(bytes));
    };
    const reading = async (): Promise<void> => {
      for (let round = 0; round < 4; round++) {
        const stored = await readUnlessGap(suite, client, key);
        assert.ok(
          stored === undefined || versions.some((bytes) => Buffer.from(bytes).equals(stored)),
          'one version',
        );
      }
    };
    await Promise.all([writing(), reading(), reading()]);
  });
}
