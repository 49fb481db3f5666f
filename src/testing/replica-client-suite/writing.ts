import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isLitestreamError } from '../../lib/errors.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import {
  bytesSource,
  collect,
  fileSource,
  readAll,
  readRange,
  type WriteSource,
} from '../../storage/index.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../ltx-like.ts';
import { type Bench, check, type Suite } from './contract.ts';

/** Yields some bytes, then fails. */
export function failingSource(bytes: Uint8Array, error: unknown): WriteSource {
  return {
    size: bytes.length + 1000,
    async *stream() {
      await Promise.resolve();
      if (bytes.length > 0) yield bytes;
      throw error;
    },
  };
}

/** Nothing is listed, and nothing temporary has stayed. */
export async function assertNothingStored({ client, remote }: Bench): Promise<void> {
  for (let level = 0; level <= 9; level++) assert.deepEqual(await listAll(client, level), []);
  assert.deepEqual((await remote.keys?.()) ?? [], [], 'no object of any name is left');
}

export function writingTests(suite: Suite): void {
  const { largeFileSize = 9 * 1024 * 1024 } = suite.capabilities;

  check(suite, 'initialises twice and at the same time', async ({ client, remote }) => {
    await Promise.all([client.init(), client.init()]);
    await client.init();
    assert.deepEqual((await remote.keys?.()) ?? [], [], 'creates nothing');
    await client.close();
    await client.close();
  });

  check(suite, 'takes chunks of any size', async ({ client }) => {
    const bytes = ltxLike(2500);
    for (const chunkSize of [1, 7, 99, 100, 101, 1000, 2500]) {
      const key = fileKey(0, chunkSize);
      const { size } = await client.write(key, chunkedSource(bytes, chunkSize));
      assert.equal(size, bytes.length);
      assert.deepEqual(await readAll(client, key), bytes, `chunks of ${chunkSize}`);
    }
  });

  check(suite, 'takes a source that is a local file', async ({ client }) => {
    const folder = await mkdtemp(join(tmpdir(), 'litestream-suite-'));
    try {
      const bytes = ltxLike(300_000, 1_700_000_000_007);
      const path = join(folder, 'source');
      await writeFile(path, bytes);
      const source = fileSource(nodeFileSystem, path, bytes.length);
      const written = await client.write(fileKey(0, 1), source);
      assert.deepEqual(written, { ...fileKey(0, 1), size: 300_000, createdAt: 1_700_000_000_007 });
      assert.deepEqual(await readAll(client, written), bytes);
      assert.deepEqual(await collect(source.stream()), bytes, 'the source is untouched');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  check(suite, `stores ${largeFileSize} bytes`, async ({ client }) => {
    const bytes = ltxLike(largeFileSize);
    const key = fileKey(9, 1, 1000);
    await client.write(key, chunkedSource(bytes, 65_536));
    assert.ok(Buffer.from(bytes).equals(await readAll(client, key)), 'the same bytes');
    const range = { offset: largeFileSize - 70_000, size: 65_000 };
    const part = bytes.subarray(range.offset, range.offset + range.size);
    assert.ok(Buffer.from(part).equals(await readRange(client, key, range)), 'the same part');
  });

  check(suite, 'replaces an existing file, by a shorter one too', async ({ client }) => {
    const key = fileKey(0, 1);
    await client.write(key, bytesSource(ltxLike(5000, 1_700_000_000_000, 1)));
    const shorter = ltxLike(300, 1_700_000_001_000, 2);
    await client.write(key, bytesSource(shorter));
    assert.deepEqual(await readAll(client, key), shorter);
    const files = await listAll(client, 0);
    assert.deepEqual(files, [{ ...key, size: 300, createdAt: 1_700_000_001_000 }]);
  });

  failureTests(suite);
  locationTests(suite);
}

function locationTests(suite: Suite): void {
  check(suite, 'keeps paths with blanks and letters beyond ASCII apart', async ({ remote }) => {
    const paths = ['a b', 'a%20b', 'a+b', 'é', 'e', 'x/ü 日本/#?&'];
    for (const [index, path] of paths.entries()) {
      const client = await remote.open(path);
      if (suite.capabilities.deletesWholeRemote !== true) {
        await client.write(fileKey(0, index + 1), bytesSource(ltxLike(100)));
        const files = await listAll(client, 0);
        assert.deepEqual(
          files.map(({ minTxid }) => minTxid),
          [BigInt(index + 1)],
          path,
        );
      }
      await client.close();
    }
  });

  check(suite, 'shares files between clients of one location', async ({ client, remote }) => {
    const [same, other] = [await remote.open('p'), await remote.open('other')];
    assert.equal(same.location, client.location);
    // Where a remote is one replica, the path says nothing.
    if (suite.capabilities.deletesWholeRemote !== true) {
      assert.notEqual(other.location, client.location);
    }
    await client.write(fileKey(0, 1), bytesSource(ltxLike(100)));
    assert.equal((await listAll(same, 0)).length, 1);
    await same.close();
    await other.close();
  });
}

function failureTests(suite: Suite): void {
  check(suite, 'stores nothing if the source fails, and passes its error on', async (bench) => {
    for (const size of [0, 50, 100, 5000, 700_000]) {
      const error = new Error(`source failed after ${size}`);
      const write = bench.client.write(fileKey(0, 1), failingSource(ltxLike(size), error));
      await assert.rejects(write, (thrown: unknown) => {
        for (let at = thrown; at instanceof Error; at = at.cause) if (at === error) return true;
        return false;
      });
      await assertNothingStored(bench);
    }
  });

  check(suite, 'keeps the old file if replacing it fails', async ({ client }) => {
    const key = fileKey(0, 1);
    const bytes = ltxLike(4000);
    await client.write(key, bytesSource(bytes));
    const write = client.write(key, failingSource(ltxLike(9000, 0, 9), new Error('broken')));
    await assert.rejects(write, /broken/);
    assert.deepEqual(await readAll(client, key), bytes);
    assert.equal((await listAll(client, 0)).length, 1);
  });

  check(suite, 'refuses a source that is shorter or longer than it says', async (bench) => {
    for (const size of [4999, 5001]) {
      const source = { ...chunkedSource(ltxLike(5000)), size };
      await assert.rejects(bench.client.write(fileKey(0, 1), source), isLitestreamError);
      await assertNothingStored(bench);
    }
  });

  check(suite, 'refuses what does not begin with an LTX header', async (bench) => {
    const wrongMagic = ltxLike(200);
    wrongMagic[3] = 0x32;
    const cases: readonly (readonly [Uint8Array, string])[] = [
      [ltxLike(0), 'EOF'],
      [ltxLike(1), 'unexpected EOF'],
      [ltxLike(99), 'unexpected EOF'],
      [wrongMagic, 'invalid LTX file'],
    ];
    for (const [bytes, reason] of cases) {
      await assert.rejects(bench.client.write(fileKey(0, 1), chunkedSource(bytes)), {
        code: 'ERR_LTX_HEADER',
        message: `extract timestamp from LTX header: ${reason}`,
      });
      await assertNothingStored(bench);
    }
  });
}
