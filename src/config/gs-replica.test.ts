import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReplicaKeys } from './keys.ts';
import { resolveReplica } from './replica.ts';

const REPLICAS: readonly (readonly [keys: ReplicaKeys, bucket: string, path: string])[] = [
  [{ url: 'gs://b/p/q/' }, 'b', 'p/q'],
  [{ url: 'gs://b' }, 'b', '.'],
  [{ url: 'gcs://b/p' }, 'b', 'p'],
  [{ type: 'gs', bucket: 'b', path: '/p/' }, 'b', '/p/'],
  [{ type: 'gcs', bucket: 'b' }, 'b', ''],
];
for (const [keys, bucket, path] of REPLICAS) {
  test(`the gs replica ${JSON.stringify(keys)} is read as documented`, () => {
    assert.deepEqual(resolveReplica(keys).location, { type: 'gs', bucket, path });
  });
}

test('gs replicas that contradict themselves or name no bucket are refused', () => {
  const cases: readonly (readonly [ReplicaKeys, string])[] = [
    [{ type: 'gs' }, 'bucket required for gs replica'],
    [{ url: 'gs:///p' }, 'bucket required for gs replica'],
    [{ url: 'gs://b/p', path: 'p' }, 'cannot specify url & path for gs replica'],
    [{ url: 'gs://b/p', bucket: 'b' }, 'cannot specify url & bucket for gs replica'],
  ];
  for (const [keys, message] of cases) {
    assert.throws(() => resolveReplica(keys), { code: 'ERR_CONFIG', message });
  }
});
