import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hostHeader } from '../../http/index.ts';
import { addressOf, type AddressOptions, encodeKey, encodeQuery } from './address.ts';
import { detectService, quirksOf } from './quirks.ts';

/** Where the object `k` and the bucket itself are, as one would write it. */
function places(options: Partial<AddressOptions>): [object: string, bucket: string] {
  const address = addressOf({
    bucket: 'b-1',
    endpoint: '',
    region: 'eu-west-1',
    pathStyle: undefined,
    ...options,
  });
  const base = `${address.target.protocol}//${hostHeader(address.target)}`;
  return [base + address.objectPath('p/k'), base + address.bucketPath];
}

const ARN = 'arn:aws:s3:us-west-2:123456789012:accesspoint/my-point';

describe('addresses of S3 buckets', () => {
  const table: readonly (readonly [Partial<AddressOptions>, string, string])[] = [
    [{}, 'https://b-1.s3.eu-west-1.amazonaws.com/p/k', 'https://b-1.s3.eu-west-1.amazonaws.com/'],
    [
      { pathStyle: true },
      'https://s3.eu-west-1.amazonaws.com/b-1/p/k',
      'https://s3.eu-west-1.amazonaws.com/b-1',
    ],
    [
      { bucket: 'my.bkt.example.com' },
      'https://s3.eu-west-1.amazonaws.com/my.bkt.example.com/p/k',
      'https://s3.eu-west-1.amazonaws.com/my.bkt.example.com',
    ],
    [
      { bucket: 'Upper' },
      'https://s3.eu-west-1.amazonaws.com/Upper/p/k',
      'https://s3.eu-west-1.amazonaws.com/Upper',
    ],
    [
      { region: 'cn-north-1' },
      'https://b-1.s3.cn-north-1.amazonaws.com.cn/p/k',
      'https://b-1.s3.cn-north-1.amazonaws.com.cn/',
    ],
    [
      { endpoint: 'http://localhost:9000', pathStyle: true },
      'http://localhost:9000/b-1/p/k',
      'http://localhost:9000/b-1',
    ],
    [
      { endpoint: 'https://fly.storage.tigris.dev/' },
      'https://b-1.fly.storage.tigris.dev/p/k',
      'https://b-1.fly.storage.tigris.dev/',
    ],
    [
      { endpoint: 'https://ref.supabase.co/storage/v1/s3', pathStyle: true },
      'https://ref.supabase.co/storage/v1/s3/b-1/p/k',
      'https://ref.supabase.co/storage/v1/s3/b-1',
    ],
    [
      { endpoint: 'https://ref.supabase.co/storage/v1/s3/' },
      'https://b-1.ref.supabase.co/storage/v1/s3/p/k',
      'https://b-1.ref.supabase.co/storage/v1/s3/',
    ],
    [
      { endpoint: 'http://127.0.0.1:9000' },
      'http://127.0.0.1:9000/b-1/p/k',
      'http://127.0.0.1:9000/b-1',
    ],
    [{ endpoint: 'http://[::1]:9000' }, 'http://[::1]:9000/b-1/p/k', 'http://[::1]:9000/b-1'],
    [
      { endpoint: 'https://s.example', bucket: 'a.b' },
      'https://s.example/a.b/p/k',
      'https://s.example/a.b',
    ],
    [
      { endpoint: 'http://s.example', bucket: 'a.b' },
      'http://a.b.s.example/p/k',
      'http://a.b.s.example/',
    ],
    [
      { bucket: ARN, region: 'us-west-2' },
      'https://my-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com/p/k',
      'https://my-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com/',
    ],
    [
      { bucket: ARN, region: 'us-west-2', endpoint: 'https://s.example' },
      'https://my-point-123456789012.s.example/p/k',
      'https://my-point-123456789012.s.example/',
    ],
  ];
  for (const [options, object, bucket] of table) {
    it(`BKD-15 has ${object}`, () => {
      assert.deepEqual(places(options), [object, bucket]);
    });
  }

  it('refuses what cannot work', () => {
    assert.throws(() => places({ bucket: ARN, region: 'us-west-2', pathStyle: true }), {
      code: 'ERR_CONFIG',
      message: /Path-style addressing cannot be used with ARN/,
    });
    assert.throws(() => places({ bucket: 'arn:aws:s3::1:accesspoint/x.mrap', region: '' }), {
      code: 'ERR_CONFIG',
    });
    for (const endpoint of ['nonsense', 'ftp://x', 'http://', 'https://u:secret@ x/']) {
      assert.throws(
        () => places({ endpoint }),
        (error: Error) => !error.message.includes('secret'),
      );
    }
  });
});

describe('keys and queries on the wire', () => {
  it('cleans nothing', () => {
    for (const key of ['./0000/x', '/0000/x', '/p//0000/x', 'a/../b', '.', '//']) {
      assert.equal(encodeKey(key), key);
    }
  });

  it('BKD-04 encodes every byte but the unreserved ones and the slash, once', () => {
    assert.equal(
      encodeKey("a b+c%20!'()*~é/日?#&="),
      'a%20b%2Bc%2520%21%27%28%29%2A~%C3%A9/%E6%97%A5%3F%23%26%3D',
    );
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (key) => {
        const encoded = encodeKey(key);
        assert.match(encoded, /^(?:[A-Za-z0-9\-._~/]|%[0-9A-F]{2})*$/);
        assert.equal(decodeURIComponent(encoded), key.toWellFormed());
      }),
    );
  });

  it('sorts a query and keeps names without values', () => {
    const query = { 'list-type': '2', prefix: 'a/b c', delete: '', 'continuation-token': 'x=/+' };
    assert.equal(
      encodeQuery(query),
      'continuation-token=x%3D%2F%2B&delete=&list-type=2&prefix=a%2Fb%20c',
    );
    assert.equal(encodeQuery({}), '');
  });
});

describe('services behind endpoints', () => {
  const services: Readonly<Record<string, readonly string[]>> = {
    aws: [''],
    tigris: ['https://fly.storage.tigris.dev', 'T3.Storage.Dev', 'http://t3.storage.dev/'],
    r2: ['https://acc.r2.cloudflarestorage.com', 'https://acc.eu.r2.cloudflarestorage.com'],
    backblaze: ['https://s3.us-west-002.backblazeb2.com'],
    filebase: ['s3.filebase.com'],
    supabase: ['https://ref.supabase.co/storage/v1/s3'],
    digitalocean: ['https://nyc3.digitaloceanspaces.com'],
    scaleway: ['s3.fr-par.scw.cloud'],
    hetzner: ['https://fsn1.your-objectstorage.com'],
    minio: ['http://localhost:9000', 'https://minio.example.com:9000', 'rook-ceph-rgw:8080'],
    gcs: [
      'https://storage.googleapis.com',
      'https://storage.googleapis.com:443',
      'https://storage.googleapis.com.',
      'us-central1-storage.googleapis.com',
      'https://storage.me-central2.rep.googleapis.com',
      'https://storage.mtls.googleapis.com',
      'https://storage-upload.googleapis.com',
    ],
    other: [
      'https://bucket.storage.googleapis.com',
      'https://backup-storage.us-central1-storage.googleapis.com',
      'https://storageinsights.googleapis.com',
      'https://storage.googleapis.com.evil.test',
      'https://user@storage.googleapis.com',
      'https://user@fly.storage.tigris.dev',
      'https://x.fly.storage.tigris.dev',
      'https://x.r2.cloudflarestorage.com:443',
      'https://s3.example.com',
      'https://s3.us-east-1.amazonaws.com:443',
    ],
  };
  for (const [service, endpoints] of Object.entries(services)) {
    it(`BKD-04 are told apart: ${service}`, () => {
      for (const endpoint of endpoints) assert.equal(detectService(endpoint), service, endpoint);
    });
  }

  it('have their manners', () => {
    assert.deepEqual(quirksOf('https://t3.storage.dev').headers, { 'x-tigris-consistent': 'true' });
    assert.equal(quirksOf('https://t3.storage.dev').contentMd5, false);
    assert.equal(quirksOf('https://a.r2.cloudflarestorage.com').concurrency, 2);
    for (const endpoint of [
      'http://h:9000',
      'https://s3.x.backblazeb2.com',
      's3.filebase.com',
      'https://r.supabase.co/x',
    ]) {
      assert.equal(quirksOf(endpoint).pathStyle, true, endpoint);
    }
    for (const endpoint of ['', 'https://nyc3.digitaloceanspaces.com', 'https://s3.example.com']) {
      assert.partialDeepStrictEqual(quirksOf(endpoint), {
        pathStyle: false,
        contentMd5: true,
        headers: {},
      });
    }
  });
});
