import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReplicaLocation } from '../storage/index.ts';
import { parseConfig } from './load.ts';
import { registeredDatabase } from './registered.ts';

function located(
  url: string,
  file = '',
  environment: Readonly<Record<string, string>> = {},
): ReplicaLocation {
  const { config } = parseConfig(file, { environment: {}, expandEnv: false, pid: 1 });
  const { replicas } = registeredDatabase('/srv/a.db', url, config, environment);
  assert.equal(replicas.length, 1);
  const [replica] = replicas;
  assert.ok(replica !== undefined);
  return replica.location;
}

/** Some of the values of a location. */
function some(location: ReplicaLocation, ...names: string[]): unknown[] {
  const values = new Map<string, unknown>(Object.entries(location));
  return names.map((name) => values.get(name));
}

test('a database has built-in defaults, and its replica those of the file below its URL', () => {
  const text = 'sync-interval: 7s\nmonitor-interval: 9s\nmax-sync-ltx-files: 3';
  const { config } = parseConfig(text, { environment: {}, expandEnv: false, pid: 1 });
  const database = registeredDatabase('/srv/a.db', 'file:///r', config, {});
  assert.equal(database.metaPath, '/srv/.a.db-litestream');
  assert.equal(database.config.monitorIntervalMs, 1000);
  const [replica] = database.replicas;
  assert.equal(replica?.syncIntervalMs, 7000);
  assert.equal(replica.syncIntervalExplicit, true);
  assert.equal(replica.maxSyncLtxFiles, 3);
});

test("what the URL gives beats the file, and the file's place does not get in its way", () => {
  const file =
    'bucket: other\nhost: other\nregion: eu-west-1\nendpoint: https://global:1\naccess-key-id: k\n' +
    'secret-access-key: s\nforce-path-style: false\nskip-verify: false\n';
  assert.deepEqual(
    some(located('s3://bk/p', file), 'bucket', 'path', 'region', 'endpoint', 'accessKeyId'),
    ['bk', 'p', 'eu-west-1', 'https://global:1', 'k'],
  );
  assert.deepEqual(
    some(
      located('s3://bk/p?endpoint=localhost:9000&region=r1&forcePathStyle=true', file),
      'region',
      'endpoint',
      'forcePathStyle',
      'secretAccessKey',
    ),
    ['r1', 'http://localhost:9000', true, 's'],
  );
  assert.deepEqual(some(located('s3://bk.minio:9000/p', file), 'bucket', 'region', 'endpoint'), [
    'bk',
    'us-east-1',
    'http://minio:9000',
  ]);
});

test('LITESTREAM_S3_ENDPOINT stands in where an s3 URL gives no endpoint', () => {
  const environment = { LITESTREAM_S3_ENDPOINT: 'localhost:9000' };
  const names = ['endpoint', 'forcePathStyle'];
  assert.deepEqual(some(located('s3://bk/p', '', environment), ...names), [
    'http://localhost:9000',
    true,
  ]);
  const given = located('s3://bk/p?endpoint=https://h', '', environment);
  assert.deepEqual(some(given, 'endpoint'), ['https://h']);
  assert.deepEqual(some(located('gs://bk/p', '', environment), 'bucket'), ['bk']);
});

test('user and password of a URL count, and its path begins in the folder of the login', () => {
  const file = 'user: other\npassword: other\ntoken: t\nusername: other\n';
  assert.deepEqual(
    some(located('sftp://me:pw@h:22/a/b', file), 'host', 'user', 'password', 'path'),
    ['h:22', 'me', 'pw', 'a/b'],
  );
  assert.deepEqual(some(located('webdav://me:pw@h/a', file), 'username', 'password', 'path'), [
    'me',
    'pw',
    'a',
  ]);
  assert.deepEqual(
    some(located('nats://me:pw@h:4222/bk', file), 'username', 'password', 'token', 'bucket'),
    ['me', 'pw', '', 'bk'],
  );
});

const UNUSABLE: readonly (readonly [url: string, message: string])[] = [
  ['foo://bucket', 'unsupported replica URL scheme: "foo"'],
  ['no-scheme', 'replica url scheme required: no-scheme'],
  ['/srv/r', 'replica url scheme required: /srv/r'],
  ['s3://', 'bucket required for s3 replica URL'],
  ['gs://', 'bucket required for gs replica URL'],
  ['sftp://host/p', 'user required for sftp replica URL'],
  ['s3://bk/%zz', 'parse "s3://bk/%zz": invalid URL escape "%zz"'],
];
for (const [url, message] of UNUSABLE) {
  test(`the URL ${url} is refused`, () => {
    assert.throws(() => located(url), { code: 'ERR_CONFIG', message });
  });
}
