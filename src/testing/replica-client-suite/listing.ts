import assert from 'node:assert/strict';
import { formatFileName } from '../../formats/ltx/index.ts';
import { isLitestreamError } from '../../lib/errors.ts';
import { bytesSource, type FileKey, mapOrdered, type ReplicaClient } from '../../storage/index.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../ltx-like.ts';
import { check, type Suite } from './contract.ts';

const LAST_TXID = 0xffff_ffff_ffff_ffffn;

function names(files: readonly FileKey[]): string[] {
  return files.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`);
}

async function store(client: ReplicaClient, keys: readonly FileKey[]): Promise<void> {
  for (const key of keys) await client.write(key, bytesSource(ltxLike(100)));
}

export function listingTests(suite: Suite): void {
  check(suite, 'lists an untouched replica as empty at every level', async ({ client }) => {
    for (let level = 0; level <= 9; level++) assert.deepEqual(await listAll(client, level), []);
  });

  check(suite, 'lists in TXID order, whatever the order of writing', async ({ client }) => {
    await store(client, [fileKey(1, 4, 8), fileKey(1, 1), fileKey(1, 9), fileKey(1, 2, 3)]);
    assert.deepEqual(names(await listAll(client, 1)), ['1-1', '2-3', '4-8', '9-9']);
  });

  check(suite, 'orders files of one first TXID by their last one', async ({ client }) => {
    await store(client, [fileKey(9, 1, 300), fileKey(9, 1, 20), fileKey(9, 1, 5)]);
    assert.deepEqual(names(await listAll(client, 9)), ['1-5', '1-20', '1-300']);
  });

  check(suite, 'keeps levels apart', async ({ client }) => {
    await store(client, [fileKey(0, 1), fileKey(1, 2), fileKey(9, 1, 3)]);
    assert.deepEqual(names(await listAll(client, 0)), ['1-1']);
    assert.deepEqual(names(await listAll(client, 1)), ['2-2']);
    assert.deepEqual(names(await listAll(client, 2)), []);
    assert.deepEqual(names(await listAll(client, 9)), ['1-3']);
  });

  check(suite, 'orders TXIDs of 64 bits as numbers', async ({ client }) => {
    const last = fileKey(0, LAST_TXID);
    await store(client, [last, fileKey(0, 2n ** 63n), fileKey(0, 9), fileKey(0, 16)]);
    const listed = names(await listAll(client, 0));
    assert.deepEqual(
      listed,
      ['9', '16', `${2n ** 63n}`, `${LAST_TXID}`].map((n) => `${n}-${n}`),
    );
    assert.deepEqual(names(await listAll(client, 0, LAST_TXID)), [`${LAST_TXID}-${LAST_TXID}`]);
  });

  check(suite, 'reports key, size and level of each file', async ({ client }) => {
    await client.write(fileKey(3, 7, 9), bytesSource(ltxLike(12_345)));
    const [file, ...more] = await listAll(client, 3);
    assert.deepEqual(more, []);
    assert.deepEqual(
      { ...file, createdAt: 0 },
      { ...fileKey(3, 7, 9), size: 12_345, createdAt: 0 },
    );
  });

  seekTests(suite);
  foreignTests(suite);
  sizeTests(suite);
}

function seekTests(suite: Suite): void {
  check(suite, 'CMP-05 takes seek as a lower bound of the first TXID', async ({ client }) => {
    const keys = [2, 3, 17, 18, 19, 4096].map((txid) => fileKey(0, txid));
    await store(client, keys);
    const all = ['2-2', '3-3', '17-17', '18-18', '19-19', '4096-4096'];
    for (const [seek, from] of [
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 1],
      [4, 2],
      [16, 2],
      [17, 2],
      [20, 5],
      [4096, 5],
      [4097, 6],
    ] as const) {
      assert.deepEqual(names(await listAll(client, 0, seek)), all.slice(from), `seek ${seek}`);
    }
  });

  check(
    suite,
    'leaves out a file that begins before seek and ends behind it',
    async ({ client }) => {
      await store(client, [fileKey(1, 1, 10), fileKey(1, 11, 20), fileKey(1, 21, 30)]);
      assert.deepEqual(names(await listAll(client, 1, 5)), ['11-20', '21-30']);
    },
  );
}

function foreignTests(suite: Suite): void {
  check(suite, 'skips names that are no LTX file names', async ({ client, remote }) => {
    await client.write(fileKey(0, 10), bytesSource(ltxLike(100)));
    const good = formatFileName(10n, 10n);
    const foreign = [
      'readme.txt',
      `${good}.tmp`,
      good.toUpperCase(),
      good.replaceAll('a', 'A'),
      good.slice(1),
      `0${good}`,
      good.replace('.ltx', ''),
      good.replace('-', '_'),
      '.hidden',
    ];
    for (const name of foreign) await remote.putForeign?.('p', 0, name, ltxLike(100));
    assert.deepEqual(names(await listAll(client, 0)), ['10-10']);
  });

  check(
    suite,
    'does not see the replica of a longer or shorter path',
    async ({ client, remote }) => {
      await store(client, [fileKey(0, 1)]);
      for (const [path, txid] of [
        ['p2', 2],
        ['p/sub', 3],
        ['q', 4],
      ] as const) {
        const other = await remote.open(path);
        if (suite.capabilities.deletesWholeRemote !== true) await store(other, [fileKey(0, txid)]);
        await other.close();
      }
      assert.deepEqual(names(await listAll(client, 0)), ['1-1']);
    },
  );
}

function sizeTests(suite: Suite): void {
  const { manyFiles = 1001, times = 'ms' } = suite.capabilities;

  check(suite, `lists and deletes ${manyFiles} files`, async ({ client }) => {
    const keys = Array.from({ length: manyFiles }, (_, index) => fileKey(0, index + 1));
    const written = mapOrdered(keys.toReversed(), 16, (key) =>
      client.write(key, bytesSource(ltxLike(100))),
    );
    for await (const file of written) assert.equal(file.size, 100);
    assert.deepEqual(names(await listAll(client, 0)), names(keys));
    const [first, ...rest] = keys;
    assert.ok(first !== undefined);
    await client.delete(rest);
    assert.deepEqual(names(await listAll(client, 0)), ['1-1']);
  });

  check(suite, 'gives the time of the header as creation time', async ({ client }) => {
    const stamps = [1_000_000_000_000, 1_735_689_600_000, 1_735_689_805_894, 1_767_225_599_999];
    for (const [index, stamp] of stamps.entries()) {
      const key = fileKey(2, index + 1);
      const written = await client.write(key, chunkedSource(ltxLike(500, stamp)));
      assert.equal(written.createdAt, stamp, 'as told by the write');
    }
    const unit = times === 'ms' ? 1 : 1000;
    const listed = (await listAll(client, 2)).map(({ createdAt }) => Math.floor(createdAt / unit));
    assert.deepEqual(
      listed,
      stamps.map((stamp) => Math.floor(stamp / unit)),
    );
  });

  check(suite, 'knows the time of one file where its listings are cheap', async ({ client }) => {
    await client.write(fileKey(2, 1), chunkedSource(ltxLike(500, 1_735_689_805_894)));
    if (client.timeOf === undefined) return;
    for await (const file of client.list(2)) {
      assert.equal(await client.timeOf(file), 1_735_689_805_894);
      await client.delete([file]);
      // Some providers leave it to whoever reads the file to find out.
      const look = client.timeOf(file).then(
        () => undefined,
        (error: unknown) => error,
      );
      const error: unknown = await look;
      if (error !== undefined) assert.ok(isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND'));
    }
  });

  check(suite, 'goes on after a listing that was left early', async ({ client }) => {
    await store(
      client,
      [1, 2, 3, 4, 5].map((txid) => fileKey(0, txid)),
    );
    for await (const { minTxid } of client.list(0)) {
      if (minTxid === 2n) break;
    }
    assert.equal((await listAll(client, 0)).length, 5);
  });
}
