import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OssLocation } from '../storage/index.ts';
import type { ReplicaKeys } from './keys.ts';
import { resolveReplica } from './replica.ts';

const EMPTY: OssLocation = {
  type: 'oss',
  bucket: '',
  path: '',
  region: '',
  endpoint: '',
  accessKeyId: '',
  secretAccessKey: '',
  partSizeBytes: undefined,
  concurrency: undefined,
};

const internal = 'https://oss-cn-beijing-internal.aliyuncs.com';
const REPLICAS: readonly (readonly [keys: ReplicaKeys, want: Partial<OssLocation>])[] = [
  [{ url: 'oss://b/p' }, { bucket: 'b', path: 'p' }],
  [{ url: 'oss://b' }, { bucket: 'b', path: '.' }],
  [{ url: 'oss://b/' }, { bucket: 'b' }],
  [
    { url: 'oss://b.oss-cn-beijing.aliyuncs.com/p/q' },
    { bucket: 'b', region: 'cn-beijing', path: 'p/q' },
  ],
  [
    { url: 'oss://b.oss-cn-beijing-internal.aliyuncs.com/p' },
    { bucket: 'b', region: 'cn-beijing', path: 'p', endpoint: internal },
  ],
  [
    { url: 'oss://b.oss-accelerate.aliyuncs.com/p' },
    { bucket: 'b', path: 'p', endpoint: 'https://oss-accelerate.aliyuncs.com' },
  ],
  [
    { url: 'oss://b/p?endpoint=oss.example.com&region=cn-x&part-size=6000000&concurrency=2' },
    {
      bucket: 'b',
      path: 'p',
      endpoint: 'https://oss.example.com',
      region: 'cn-x',
      partSizeBytes: 6_000_000,
      concurrency: 2,
    },
  ],
  [
    { url: 'oss://b/p?endpoint=127.0.0.1:9000&partSize=1000000' },
    { bucket: 'b', path: 'p', endpoint: 'http://127.0.0.1:9000', partSizeBytes: 1_000_000 },
  ],
  [
    { url: 'oss://b.oss-cn-beijing.aliyuncs.com/p?region=cn-x', region: 'cn-y', endpoint: 'e' },
    { bucket: 'b', path: 'p', region: 'cn-y', endpoint: 'e' },
  ],
  [
    {
      type: 'oss',
      bucket: 'b',
      path: '/p/',
      'access-key-id': 'id',
      'secret-access-key': 'secret',
      'part-size': 7,
      concurrency: 9,
    },
    {
      bucket: 'b',
      path: '/p/',
      accessKeyId: 'id',
      secretAccessKey: 'secret',
      partSizeBytes: 7,
      concurrency: 9,
    },
  ],
];
for (const [keys, want] of REPLICAS) {
  test(`the oss replica ${keys.url ?? 'of keys'} is read as documented`, () => {
    assert.deepEqual(resolveReplica(keys).location, { ...EMPTY, ...want });
  });
}

test('an oss replica without a bucket is refused', () => {
  for (const keys of [{ type: 'oss' }, { url: 'oss://oss-cn-beijing.aliyuncs.com/p' }]) {
    assert.throws(() => resolveReplica(keys), {
      code: 'ERR_CONFIG',
      message: 'bucket required for oss replica',
    });
  }
});
