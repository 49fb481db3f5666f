import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { S3Location } from '../storage/index.ts';
import type { ReplicaKeys } from './keys.ts';
import { resolveReplica } from './replica.ts';

type Wanted = Partial<S3Location>;

function resolve(keys: ReplicaKeys): S3Location {
  const { location } = resolveReplica(keys);
  assert.ok(location.type === 's3');
  return location;
}

/** Host, and what it says. Spec: backends 3.5.1. */
const HOSTS: readonly (readonly [host: string, wanted: Wanted])[] = [
  ['b', { bucket: 'b', region: '', endpoint: '', forcePathStyle: undefined }],
  ['my.bkt.example.com', { bucket: 'my.bkt.example.com', endpoint: '' }],
  [
    'b.localhost:9000',
    { bucket: 'b', region: 'us-east-1', endpoint: 'http://localhost:9000', forcePathStyle: true },
  ],
  [
    'b.minio.example:9000',
    { bucket: 'b', region: 'us-east-1', endpoint: 'http://minio.example:9000' },
  ],
  ['b.10.0.0.1:9000', { bucket: 'b', endpoint: 'http://10.0.0.1:9000', forcePathStyle: true }],
  ['b.s3.amazonaws.com', { bucket: 'b', region: '', endpoint: '' }],
  ['b.s3.eu-west-1.amazonaws.com', { bucket: 'b', region: 'eu-west-1', endpoint: '' }],
  ['a.b.s3.eu-west-1.amazonaws.com', { bucket: 'a.b', region: 'eu-west-1', endpoint: '' }],
  ['b.s3-eu-west-1.amazonaws.com', { bucket: 'b.s3-eu-west-1.amazonaws.com', endpoint: '' }],
  ['b.s3.dualstack.eu-west-1.amazonaws.com', { bucket: 'b.s3.dualstack.eu-west-1.amazonaws.com' }],
  ['b.s3.cn-north-1.amazonaws.com.cn', { bucket: 'b.s3.cn-north-1.amazonaws.com.cn' }],
  [
    'b.nyc3.digitaloceanspaces.com',
    { bucket: 'b', region: 'nyc3', endpoint: 'https://nyc3.digitaloceanspaces.com' },
  ],
  ['a.b.nyc3.digitaloceanspaces.com', { bucket: 'a.b', region: 'nyc3' }],
  [
    'b.s3.us-west-002.backblazeb2.com',
    {
      bucket: 'b',
      region: 'us-west-002',
      endpoint: 'https://s3.us-west-002.backblazeb2.com',
      forcePathStyle: true,
    },
  ],
  ['b.s3.filebase.com', { bucket: 'b', region: '', endpoint: 's3.filebase.com' }],
  ['b.s3.fr-par.scw.cloud', { bucket: 'b', region: 'fr-par', endpoint: 's3.fr-par.scw.cloud' }],
  ['acc.r2.cloudflarestorage.com', { bucket: 'acc.r2.cloudflarestorage.com', endpoint: '' }],
];

/** Endpoint in a query, and with its scheme. Spec: backends 3.5.5. */
const SCHEMES: readonly (readonly [endpoint: string, wanted: string])[] = [
  ['localhost', 'http'],
  ['LOCALHOST:9000', 'http'],
  ['127.0.0.1:9000', 'http'],
  ['192.168.0.5:9000', 'http'],
  ['10.1.2.3', 'http'],
  ['172.16.0.1', 'http'],
  ['172.19.0.1', 'http'],
  ['172.20.0.1', 'http'],
  ['172.29.0.1', 'http'],
  ['172.30.0.1', 'http'],
  ['172.31.0.1', 'http'],
  ['minio.local:9000', 'http'],
  ['minio.localhost', 'http'],
  ['172.15.0.1', 'https'],
  ['172.160.0.1', 'https'],
  ['172.32.0.1', 'https'],
  ['s3.example.com', 'https'],
  ['fly.storage.tigris.dev', 'https'],
  ['127.0.0.1.example.com', 'https'],
];

const ARN = 'arn:aws:s3:us-west-2:123456789012:accesspoint/point';

/** Spec: backends 3.5.2, 3.5.3, 3.5.4. */
const WHOLE: readonly (readonly [keys: ReplicaKeys, wanted: Wanted])[] = [
  [{ url: 's3://b' }, { bucket: 'b', path: '.' }],
  [{ url: 's3://b/' }, { bucket: 'b', path: '' }],
  [{ url: 's3://b//p//q/' }, { path: 'p/q' }],
  [{ url: 's3://b/../x' }, { path: 'x' }],
  [{ url: 's3://b/a%20b/c' }, { path: 'a b/c' }],
  [{ url: 'S3://Bkt/P' }, { bucket: 'Bkt', path: 'P' }],
  [
    { type: 's3', bucket: 'b' },
    { bucket: 'b', path: '', endpoint: '' },
  ],
  [{ type: 's3', bucket: 'b', path: '/p/' }, { path: '/p/' }],
  [{ url: `s3://${ARN}` }, { bucket: ARN, path: '', region: 'us-west-2' }],
  [{ url: `s3://${ARN}/` }, { bucket: ARN, path: '' }],
  [{ url: `s3://${ARN}/a/b?region=eu-west-1` }, { bucket: ARN, path: 'a/b', region: 'eu-west-1' }],
  [{ url: 's3://b/p?region=auto' }, { region: 'auto' }],
  [{ url: 's3://b/p?region=auto', region: 'own' }, { region: 'own' }],
  [{ url: 's3://b/p?endpoint=https://e/x' }, { endpoint: 'https://e/x', forcePathStyle: true }],
  [{ url: 's3://b/p?endpoint=https://e&forcePathStyle=false' }, { forcePathStyle: false }],
  [{ url: 's3://b/p?endpoint=https://e&force-path-style=false' }, { forcePathStyle: false }],
  [{ url: 's3://b/p?forcePathStyle=true' }, { forcePathStyle: true }],
  [
    { url: 's3://b/p', endpoint: 'e.example:9000' },
    { endpoint: 'https://e.example:9000', forcePathStyle: true },
  ],
  [{ url: 's3://b/p', endpoint: 'http://e', 'force-path-style': false }, { forcePathStyle: false }],
  [{ url: 's3://b/p?skipVerify=true' }, { skipVerify: true }],
  [{ url: 's3://b/p?signPayload=false' }, { signPayload: false }],
  [{ url: 's3://b/p?sign-payload=0', 'sign-payload': true }, { signPayload: true }],
  [{ url: 's3://b/p?require-content-md5=no' }, { requireContentMd5: false }],
  [
    { url: 's3://b/p?concurrency=3&part-size=6000000' },
    { concurrency: 3, partSizeBytes: 6_000_000 },
  ],
  [{ url: 's3://b/p?storage-class=X', 'storage-class': 'Y' }, { storageClass: 'Y' }],
  [
    { url: 's3://b/p' },
    { signPayload: undefined, requireContentMd5: undefined, concurrency: undefined, lease: false },
  ],
  [{ url: 's3://b/p', endpoint: 'https://s3.us-east-2.amazonaws.com' }, { region: 'us-east-2' }],
  [{ url: 's3://b/p', lease: true }, { lease: true }],
  [{ url: 's3://b/p?lease=true' }, { lease: true }],
  [{ url: 's3://b/p?lease=true', lease: false }, { lease: false }],
];

describe('S3 replicas in configurations', () => {
  for (const [host, wanted] of HOSTS) {
    it(`BKD-15 reads the host ${host}`, () => {
      assert.partialDeepStrictEqual(resolve({ url: `s3://${host}/p` }), { path: 'p', ...wanted });
    });
  }
  for (const [endpoint, scheme] of SCHEMES) {
    it(`BKD-15 takes ${endpoint} for ${scheme}`, () => {
      const location = resolve({ url: `s3://b/p?endpoint=${endpoint}` });
      assert.equal(location.endpoint, `${scheme}://${endpoint}`);
    });
  }
  for (const [keys, wanted] of WHOLE) {
    it(`BKD-15 resolves ${JSON.stringify(keys)}`, () => {
      assert.partialDeepStrictEqual(resolve(keys), wanted);
    });
  }

  it('BKD-15 refuses what names no bucket', () => {
    for (const url of ['s3://', 's3:///p', 's3://localhost:9000/p']) {
      assert.throws(() => resolve({ url }), { message: 'bucket required for s3 replica' }, url);
    }
    for (const arn of ['arn:aws:s3:r:1:accesspoint/', 'arn:aws:s3:r:1:bucket/x']) {
      assert.throws(() => resolve({ url: `s3://${arn}` }), {
        message: `invalid s3 access point arn: ${arn}`,
      });
    }
  });

  it('refuses a lease where there can be none', () => {
    assert.throws(() => resolveReplica({ path: '/r', lease: true }), {
      code: 'ERR_CONFIG',
      message: 'lease is only supported for s3 replicas, not for file',
    });
    assert.equal(resolveReplica({ path: '/r', lease: false }).location.type, 'file');
  });
});
