import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { isLitestreamError } from '../../lib/errors.ts';
import { bytesSource, type Download, readAll, readRange } from '../../storage/index.ts';
import { fileKey, ltxLike } from '../ltx-like.ts';
import { check, type Suite } from './contract.ts';

const notFound = (error: unknown): boolean => isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND');

async function readDownload(download: Download): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  try {
    for (;;) {
      const target = new Uint8Array(100_000);
      const count = await download.fill(target);
      if (count === 0) return Buffer.concat(pieces);
      pieces.push(target.subarray(0, count));
    }
  } finally {
    download.close();
  }
}

export function readingTests(suite: Suite): void {
  check(suite, 'reads back what was written, byte for byte', async ({ client }) => {
    for (const size of [100, 101, 4096, 65_535, 65_536, 65_537, 600_000]) {
      const bytes = ltxLike(size, 1_735_689_600_123, size);
      const key = fileKey(0, size);
      await client.write(key, bytesSource(bytes));
      assert.deepEqual(await readAll(client, key), bytes, `${size} bytes`);
    }
  });

  check(suite, 'reads ranges', async ({ client }) => {
    const key = fileKey(1, 1, 9);
    const size = 700_001;
    const bytes = ltxLike(size);
    await client.write(key, bytesSource(bytes));
    const ranges = [
      [0, 0],
      [0, 1],
      [0, 100],
      [0, size],
      [0, size + 1],
      [1, 0],
      [32, 8],
      [99, 2],
      [65_535, 2],
      [524_287, 3],
      [size - 1, 0],
      [size - 1, 1],
      [size - 1, 100],
      [size - 24, 8],
      [300_000, 350_000],
    ] as const;
    for (const [offset, length] of ranges) {
      const expected = bytes.subarray(
        offset,
        length === 0 ? size : Math.min(size, offset + length),
      );
      const found = await readRange(client, key, { offset, size: length });
      assert.deepEqual(found, expected, `offset ${offset}, size ${length}`);
      const download = await client.open?.(key, { offset, size: length });
      if (download === undefined) continue;
      const opened = await readDownload(download);
      assert.equal(Buffer.compare(opened, expected), 0, `opened at ${offset}, size ${length}`);
    }
  });

  check(suite, 'reads nothing at and behind the end', async ({ client }) => {
    const key = fileKey(0, 1);
    await client.write(key, bytesSource(ltxLike(150)));
    for (const range of [{ offset: 150 }, { offset: 150, size: 10 }, { offset: 1000, size: 1 }]) {
      assert.equal((await readRange(client, key, range)).length, 0, JSON.stringify(range));
    }
  });

  check(suite, 'says not found for a file that does not exist', async ({ client }) => {
    const key = fileKey(0, 1);
    await assert.rejects(readAll(client, key), notFound, 'in an empty replica');
    await client.write(key, bytesSource(ltxLike(100)));
    await assert.rejects(readAll(client, fileKey(0, 2)), notFound, 'in a level that exists');
    await assert.rejects(readRange(client, fileKey(1, 1), { offset: 5, size: 5 }), notFound);
    const opened = client.open?.(fileKey(1, 1), { offset: 5, size: 5 });
    if (opened !== undefined) await assert.rejects(opened.then(readDownload), notFound);
    await client.delete([key]);
    await assert.rejects(readAll(client, key), notFound, 'after deleting');
  });

  chunkTests(suite);
}

function chunkTests(suite: Suite): void {
  check(suite, 'gives chunks away: changing one changes nothing stored', async ({ client }) => {
    const key = fileKey(0, 1);
    const bytes = ltxLike(200_000);
    await client.write(key, bytesSource(bytes));
    for await (const chunk of client.read(key)) {
      assert.ok(chunk.length > 0, 'no empty chunks');
      chunk.fill(0);
    }
    assert.deepEqual(await readAll(client, key), bytes);
  });

  check(suite, 'goes on after a read that was left early', async ({ client }) => {
    const key = fileKey(0, 1);
    const bytes = ltxLike(3_000_000);
    await client.write(key, bytesSource(bytes));
    for await (const chunk of client.read(key)) {
      assert.ok(chunk.length > 0);
      break;
    }
    assert.deepEqual(await readAll(client, key), bytes);
  });

  check(suite, 'names the local file, where files are local', async ({ client }) => {
    const key = fileKey(0, 1);
    const bytes = ltxLike(5000);
    await client.write(key, bytesSource(bytes));
    const path = client.localPath?.(key);
    if (path !== undefined) assert.deepEqual(new Uint8Array(await readFile(path)), bytes);
  });
}
