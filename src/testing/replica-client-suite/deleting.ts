import assert from 'node:assert/strict';
import { bytesSource, type FileKey, type ReplicaClient } from '../../storage/index.ts';
import { fileKey, listAll, ltxLike } from '../ltx-like.ts';
import { check, type Suite } from './contract.ts';

async function put(client: ReplicaClient, ...keys: readonly FileKey[]): Promise<void> {
  for (const key of keys) await client.write(key, bytesSource(ltxLike(100)));
}

async function count(client: ReplicaClient): Promise<number> {
  let files = 0;
  for (let level = 0; level <= 9; level++) files += (await listAll(client, level)).length;
  return files;
}

export function deletingTests(suite: Suite): void {
  check(suite, 'deletes the named files and no others', async ({ client }) => {
    await put(client, fileKey(0, 1), fileKey(0, 2), fileKey(0, 3), fileKey(1, 1, 2));
    await client.delete([fileKey(0, 1), fileKey(0, 3)]);
    assert.deepEqual(
      (await listAll(client, 0)).map(({ minTxid }) => minTxid),
      [2n],
    );
    assert.equal((await listAll(client, 1)).length, 1);
  });

  check(suite, 'takes a missing file for deleted', async ({ client }) => {
    await client.delete([fileKey(0, 1)]);
    await put(client, fileKey(0, 1), fileKey(0, 2));
    await client.delete([fileKey(0, 7), fileKey(0, 1), fileKey(5, 1)]);
    await client.delete([fileKey(0, 1)]);
    await client.delete([]);
    assert.equal(await count(client), 1);
  });

  check(suite, 'stores a file again after it was deleted', async ({ client }) => {
    await put(client, fileKey(0, 1));
    await client.delete([fileKey(0, 1)]);
    await put(client, fileKey(0, 1));
    assert.equal(await count(client), 1);
  });

  check(suite, 'deletes everything, other data included', async ({ client, remote }) => {
    await put(client, fileKey(0, 1), fileKey(3, 1), fileKey(9, 1, 2));
    await remote.putForeign?.('p', 0, 'readme.txt', ltxLike(100));
    await client.deleteAll();
    assert.equal(await count(client), 0);
    assert.deepEqual((await remote.keys?.()) ?? [], []);
    await client.deleteAll();
    await put(client, fileKey(0, 1));
    assert.equal(await count(client), 1, 'usable afterwards');
  });

  if (suite.capabilities.deletesWholeRemote === true) return;
  check(suite, 'deletes everything below its own path only', async ({ client, remote }) => {
    const others = [await remote.open('p2'), await remote.open('q'), await remote.open('0/p')];
    for (const each of [client, ...others]) await put(each, fileKey(0, 1));
    await client.deleteAll();
    assert.equal(await count(client), 0);
    for (const other of others) {
      assert.equal(await count(other), 1, other.location);
      await other.close();
    }
  });
}
