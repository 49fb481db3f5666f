import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLitestreamError } from '../lib/errors.ts';
import { resolveReplica } from './replica.ts';

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(isLitestreamError(error), String(error));
    return error.message;
  }
  assert.fail('nothing was thrown');
}

const FILE_URLS: readonly (readonly [url: string, path: string])[] = [
  ['file:///a//b/../c', '/a/c'],
  ['file:///a/b?x=1', '/a/b'],
  ['file://rel/p', '/rel/p'],
  ['file:///', '/'],
  ['file:///mit%20leer/%C3%A9', '/mit leer/é'],
  ['file:///mit leer/é', '/mit leer/é'],
];
for (const [url, path] of FILE_URLS) {
  test(`${url} is the folder ${path}`, () => {
    assert.deepEqual(resolveReplica({ url }).location, { type: 'file', path });
  });
}

const S3_URLS: readonly (readonly [url: string, want: Readonly<Record<string, unknown>>])[] = [
  ['s3://b', { bucket: 'b', path: '.', endpoint: '', forcePathStyle: undefined }],
  ['s3://b/', { path: '' }],
  ['s3://b//p/', { path: 'p' }],
  [
    's3://bk.localhost:9000/p',
    { bucket: 'bk', endpoint: 'http://localhost:9000', region: 'us-east-1', forcePathStyle: true },
  ],
  ['s3://b.s3.eu-west-1.amazonaws.com/p', { bucket: 'b', region: 'eu-west-1', endpoint: '' }],
  [
    's3://b.s3.us-west-1.backblazeb2.com/p',
    { bucket: 'b', endpoint: 'https://s3.us-west-1.backblazeb2.com', forcePathStyle: true },
  ],
  [
    's3://bk/app?endpoint=localhost:9000',
    { bucket: 'bk', path: 'app', endpoint: 'http://localhost:9000', forcePathStyle: true },
  ],
  [
    's3://bk/app?endpoint=x.example&forcePathStyle=false&skipVerify=true&region=r-1&part-size=6000000',
    {
      endpoint: 'https://x.example',
      forcePathStyle: false,
      skipVerify: true,
      region: 'r-1',
      partSizeBytes: 6_000_000,
    },
  ],
  [
    's3://arn:aws:s3:eu-1:123:accesspoint/name/pre/fix/',
    { bucket: 'arn:aws:s3:eu-1:123:accesspoint/name', region: 'eu-1', path: 'pre/fix' },
  ],
];
for (const [url, want] of S3_URLS) {
  test(`${url} is read as documented`, () => {
    const { location } = resolveReplica({ url });
    assert.partialDeepStrictEqual(location, { type: 's3', ...want });
  });
}

const REMOTES: readonly (readonly [keys: object, want: object])[] = [
  [{ url: 'abs://acc@box/a/b/' }, { accountName: 'acc', bucket: 'box', path: 'a/b', endpoint: '' }],
  [
    { url: 'abs://box', 'account-name': 'x' },
    { accountName: 'x', bucket: 'box', path: '.' },
  ],
  [
    { url: 'abs://acc@acc.blob.core.windows.net/box/a/b' },
    {
      accountName: 'acc',
      bucket: 'box',
      path: 'a/b',
      endpoint: 'https://acc.blob.core.windows.net',
    },
  ],
  [
    { url: 'abs://acc.blob.core.chinacloudapi.cn/box' },
    { accountName: 'acc', bucket: 'box', endpoint: 'https://acc.blob.core.chinacloudapi.cn' },
  ],
  [
    { url: 'abs://acc@box/p?endpoint=http://127.0.0.1:10000/acc', 'sas-token': '?sv=1&sig=x' },
    {
      bucket: 'box',
      path: 'p',
      endpoint: 'http://127.0.0.1:10000/acc',
      sasToken: 'sv=1&sig=x',
    },
  ],
  [
    { url: 'nats://h:1/b', token: 't' },
    { url: 'nats://h:1', bucket: 'b', token: 't', tls: false },
  ],
  [
    { url: 'nats://u%40x:p%20w@h/b' },
    { url: 'nats://h', username: 'u@x', password: 'p w', token: '' },
  ],
  [{ url: 'nats://t0ken@h/b' }, { token: 't0ken', username: '' }],
  [{ url: 'nats://h:1', bucket: 'b' }, { bucket: 'b' }],
  [
    { type: 'nats', bucket: 'b' },
    {
      url: 'nats://127.0.0.1:4222',
      maxReconnects: -1,
      reconnectWaitMs: 2000,
      timeoutMs: 10_000,
    },
  ],
  [
    { type: 'nats', bucket: 'b', 'root-cas': ['/ca'] },
    { tls: true, rootCas: ['/ca'] },
  ],
];
for (const [keys, want] of REMOTES) {
  test(`the replica ${JSON.stringify(keys)} is read as documented`, () => {
    assert.partialDeepStrictEqual(resolveReplica(keys).location, want);
  });
}

const BAD_REPLICAS: readonly (readonly [keys: object, message: string])[] = [
  [{}, 'file replica path required'],
  [{ url: 'file://' }, 'file replica path required'],
  [{ type: 'zip' }, 'unknown replica type in config: "zip"'],
  [{ url: 'ZIP://x/y' }, 'unknown replica type in config: "zip"'],
  [{ url: '/just/a/path' }, 'replica url scheme required: /just/a/path'],
  [{ url: 's3://b/%zz' }, 'parse "s3://b/%zz": invalid URL escape "%zz"'],
  [
    { path: 's3://x/y' },
    "replica path cannot be a url, please use the 'url' field instead: s3://x/y",
  ],
  [{ url: 's3://x/y', path: 'y', bucket: 'z' }, 'cannot specify url & path for s3 replica'],
  [{ url: 's3://arn:aws:s3:r:1:x', bucket: '' }, 'invalid s3 access point arn: arn:aws:s3:r:1:x'],
  [
    { url: 's3://b?part-size=abc' },
    'invalid value for query parameter "part-size": "abc" (must be a positive integer)',
  ],
  [{ type: 'sftp', host: 'h' }, 'user required for sftp replica'],
  [{ type: 'sqlite' }, 'replica type "sqlite" is only valid under read-replicas'],
  [
    { path: '/r', age: { identities: [], recipients: ['age1x'] } },
    'age encryption is not currently supported, if you need encryption please revert back to Litestream v0.3.x',
  ],
];
for (const [keys, want] of BAD_REPLICAS) {
  test(`refuses the replica ${JSON.stringify(keys)}`, () => {
    assert.equal(
      message(() => resolveReplica(keys)),
      want,
    );
  });
}

test('a WebDAV URL without a host lacks what the setting would say', () => {
  for (const url of ['webdav://', 'webdavs:///folder']) {
    assert.equal(
      message(() => resolveReplica({ url })),
      'webdav-url required for webdav replica',
    );
  }
});
