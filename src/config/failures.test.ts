/** Configurations that have cost people their backups, and what is said about them instead. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, it } from 'node:test';
import { tempDir } from '../../test/support/temp-dir.ts';
import { type ConfigWarning, resolveDatabase, resolveReplica } from './index.ts';
import { parseConfig } from './load.ts';
import { urlWarnings } from './replica.ts';

const options = { environment: { SET: 'value', EMPTY: '' }, expandEnv: true, pid: 1 };

function warningsOf(text: string): readonly ConfigWarning[] {
  return parseConfig(text, options).warnings;
}

function shown({ attributes, message }: ConfigWarning): string {
  return [message, ...Object.values(attributes)].join(' | ');
}

/** A wrong file and the key that the warning has to name. */
const WRONG: readonly (readonly [text: string, key: string])[] = [
  ['snapshoot: {interval: 1h}', 'snapshoot'],
  ['snapshots: {interval: 1h}', 'snapshots'],
  ['snapshot: {intervall: 1h}', 'snapshot.intervall'],
  ['snapshot: {retain: 1h}', 'snapshot.retain'],
  ['snapshot-interval: 1h', 'snapshot-interval'],
  ['snapshot-retention: 24h', 'snapshot-retention'],
  ['retention: {period: 24h}', 'retention.period'],
  ['retention: {enable: false}', 'retention.enable'],
  ['retention-check-interval: 1h', 'retention-check-interval'],
  ['l0_retention: 1h', 'l0_retention'],
  ['l0-retention-interval: 1h', 'l0-retention-interval'],
  ['levels: [{interval: 1m, retention: 1h}]', 'levels[0].retention'],
  ['levels: [{intervals: 1m, interval: 1m}]', 'levels[0].intervals'],
  ['level: [{interval: 1m}]', 'level'],
  ['verify-compactions: true', 'verify-compactions'],
  ['Addr: ":9090"', 'Addr'],
  ['address: ":9090"', 'address'],
  ['mcp_addr: ":3001"', 'mcp_addr'],
  ['mcp: {addr: ":3001"}', 'mcp'],
  ['log: {level: debug}', 'log'],
  ['logging: {loglevel: debug}', 'logging.loglevel'],
  ['logging: {format: json}', 'logging.format'],
  ['socket: {enable: true}', 'socket.enable'],
  ['socket: {permission: 0600}', 'socket.permission'],
  ['validation: {enabled: true}', 'validation.enabled'],
  ['heartbeat: {url: "https://x"}', 'heartbeat'],
  ['heartbeat_url: "https://x"', 'heartbeat_url'],
  ['databases: [{path: /a}]', 'databases'],
  ['db: [{path: /a}]', 'db'],
  ['dbs: [{path: /a, replica: {path: /r, retentions: 168h}}]', 'dbs[0].replica.retentions'],
  ['dbs: [{path: /a, snapshot-interval: 1h, replica: {path: /r}}]', 'dbs[0].snapshot-interval'],
  [
    'dbs: [{path: /a, read-replicas: [{name: n, path: /c, interval: 1s}]}]',
    'dbs[0].read-replicas[0].interval',
  ],
  ['dbs: [{path: /a, replica: {path: /r, snapshot: {interval: 1h}}}]', 'dbs[0].replica.snapshot'],
  [
    'dbs: [{path: /a, replica: {path: /r, retention-check-interval: 1h}}]',
    'dbs[0].replica.retention-check-interval',
  ],
  ['dbs: [{path: /a, replicas: [{replica: {path: /r}, path: /r}]}]', 'dbs[0].replicas[0].replica'],
  [
    'dbs: [{path: /a, replicas: [{path: /r, sync_interval: 1s}]}]',
    'dbs[0].replicas[0].sync_interval',
  ],
  ['dbs: [{path: /a, replica: {path: /r, syncInterval: 1s}}]', 'dbs[0].replica.syncInterval'],
  ['dbs: [{path: /a, replica: {path: /r, acces-key-id: x}}]', 'dbs[0].replica.acces-key-id'],
  [
    'dbs: [{path: /a, replica: {path: /r, checkpoint-interval: 1m}}]',
    'dbs[0].replica.checkpoint-interval',
  ],
  ['dbs: [{path: /a, max-checkpoint-page-count: 9}]', 'dbs[0].max-checkpoint-page-count'],
  ['dbs: [{path: /a, metapath: /m}]', 'dbs[0].metapath'],
  ['dbs: [{path: /a, retention: {enabled: false}}]', 'dbs[0].retention'],
  ['dbs: [{path: /a, l0-retention: 1h}]', 'dbs[0].l0-retention'],
];

describe('configurations that went wrong', () => {
  it('CFG-01: encryption is never promised and left out, wherever it is asked for', () => {
    const age = 'age: {recipients: [age1x]}';
    for (const text of [
      `dbs: [{path: /a, replica: {path: /r, ${age}}}]`,
      `dbs: [{path: /a, replicas: [{path: /r}, {path: /s, ${age}}]}]`,
      `dbs: [{path: /a, ${age}, replica: {path: /r}}]`,
      `${age}\ndbs: [{path: /a, replica: {path: /r}}]`,
      'dbs: [{path: /a, replica: {path: /r, age: {identities: [AGE-SECRET-KEY-1X]}}}]',
    ]) {
      const [database] = parseConfig(text, options).config.databases;
      assert.ok(database !== undefined);
      assert.throws(
        () => resolveDatabase(database),
        /age encryption is not currently supported/,
        text,
      );
    }
  });

  for (const [text, key] of WRONG) {
    it(`CFG-03: ${text} is warned about`, () => {
      const named = warningsOf(text).filter(({ attributes }) => attributes['key'] === key);
      assert.equal(named.length, 1);
      assert.match(named[0]?.message ?? '', /^ignoring (unknown|unsupported) configuration key$/);
    });
  }

  it('CFG-04: a variable without a value in a secret is named, and no value is', () => {
    const lines = warningsOf(`
dbs:
  - path: /a
    replica: { type: s3, bucket: $NOBUCKET, secret-access-key: "pa\${MISSING}x", access-key-id: $SET }
  - path: /b
    replica: { type: sftp, host: h, user: u, password: pa$$word }
  - path: /c
    replica: { type: webdav, webdav-url: "http://h", webdav-password: $EMPTY, name: $ALSO }
`).map(shown);
    assert.deepEqual(lines, [
      'variable in a secret is not set | secret-access-key | MISSING',
      'variable in a secret is not set | password | $',
    ]);
    const raw = parseConfig('dbs: [{path: /a, replica: {path: /r, password: pa$$w$1}}]', {
      ...options,
      expandEnv: false,
    });
    assert.deepEqual(raw.warnings, []);
    assert.equal(raw.config.databases[0]?.replica?.password, 'pa$$w$1');
  });

  it('CFG-04: $PID has a value', () => {
    const { config } = parseConfig('socket: {path: "/run/$PID.sock"}', options);
    assert.equal(config.socket.path, '/run/1.sock');
  });

  it('CFG-05: parameters of an S3 URL mean the same in both spellings and in the file', () => {
    for (const [parameter, camel, value, read] of [
      ['region', 'region', 'r', 'r'],
      ['endpoint', 'endpoint', 'https://h', 'https://h'],
      ['force-path-style', 'forcePathStyle', 'true', true],
      ['skip-verify', 'skipVerify', 'true', true],
      ['sign-payload', 'signPayload', 'true', true],
      ['require-content-md5', 'requireContentMD5', 'true', true],
      ['storage-class', 'storageClass', 'GLACIER', 'GLACIER'],
      ['part-size', 'partSize', '6000000', 6_000_000],
      ['concurrency', 'concurrency', '3', 3],
      ['sse-customer-algorithm', 'sseCustomerAlgorithm', 'AES256', 'AES256'],
      ['sse-customer-key', 'sseCustomerKey', 'k', 'k'],
      ['sse-kms-key-id', 'sseKmsKeyId', 'id', 'id'],
    ] as const) {
      const query = (name: string): object =>
        resolveReplica({ url: `s3://b/p?${name}=${encodeURIComponent(value)}` }).location;
      const key = resolveReplica({ url: 's3://b/p', [parameter]: read }).location;
      assert.deepEqual(query(parameter), query(camel), parameter);
      assert.deepEqual(query(parameter), key, parameter);
      assert.deepEqual(urlWarnings({ url: `s3://b/p?${camel}=1&${parameter}=1` }, 'url'), []);
    }
  });

  it('CFG-05: an unknown parameter of a URL is warned about, and refused where it speaks of safety', () => {
    const lines = warningsOf(`
dbs:
  - { path: /a, replica: { url: "s3://b/p?regoin=x&part-size=9" } }
  - { path: /b, replicas: [{ url: "file:///r" }, { url: "file:///r?x=1" }] }
`).map(shown);
    const message = 'ignoring unknown query parameter of a replica URL';
    assert.deepEqual(lines, [
      `${message} | dbs[0].replica.url | regoin | did you mean region`,
      `${message} | dbs[1].replicas[1].url | x`,
    ]);
    for (const [url, parameter] of [
      ['s3://b/p?sse=AES256', 'sse'],
      ['s3://b/p?kmsKeyId=1', 'kmsKeyId'],
      ['s3://b/p?server-side-encryption=1', 'server-side-encryption'],
      ['sftp://u@h/p?skip-verify=false', 'skip-verify'],
      ['nats://h/b?tls=true', 'tls'],
      ['gs://b/p?kms-key=1', 'kms-key'],
      ['file:///p?lease=true', 'lease'],
    ] as const) {
      assert.throws(() => resolveReplica({ url }), {
        code: 'ERR_CONFIG',
        message: new RegExp(`^unsupported query parameter "${parameter}" in the URL`),
      });
    }
  });

  it('a URL that is wrong is complained about when it is used', () => {
    for (const url of ['file://', '/no/scheme', 's3://b/%zz', 'file:///%zz', 'ZIP://x']) {
      const text = `dbs: [{path: /a, replica: {url: "${url}"}}]`;
      const { config, warnings } = parseConfig(text, options);
      assert.deepEqual(warnings, [], url);
      const [database] = config.databases;
      assert.ok(database !== undefined);
      assert.throws(() => resolveDatabase(database), { code: 'ERR_CONFIG' }, url);
    }
  });

  it('CFG-07: zero and negative values mean what the documents say', () => {
    const { config } = parseConfig(
      'l0-retention: 0\ndbs: [{path: /a, truncate-page-n: 0}, {path: /b, truncate-page-n: -1}]',
      options,
    );
    assert.equal(config.l0RetentionMs, 0);
    assert.throws(
      () => parseConfig('l0-retention: -1s', options),
      /l0 retention must not be negative/,
    );
    assert.throws(() => parseConfig('snapshot: {interval: 0s}', options), /must be greater than 0/);
    for (const text of ['10', '1d', '1h 30m', '5', 'h', '1.h.']) {
      const quoted = `dbs: [{path: /a, monitor-interval: "${text}"}]`;
      assert.throws(
        () => parseConfig(quoted, options),
        /cannot unmarshal .* into time\.Duration/,
        text,
      );
    }
    const bare = warningsOf('sync-interval: 10');
    assert.deepEqual(
      bare.map(({ message }) => message),
      ['duration without unit means nanoseconds'],
    );
    for (const size of ['5X', '100EB', '-1']) {
      const text = `dbs: [{path: /a, replica: {path: /r, part-size: "${size}"}}]`;
      assert.throws(() => parseConfig(text, options), /size/, size);
    }
  });

  it('CFG-13: a database may be named by its URL', () => {
    for (const path of [
      'sqlite:///x.db',
      'sqlite3:///x.db',
      'sqlite3:///x.db?mode=ro',
      'file:/x.db?cache=shared',
      '/x.db',
    ]) {
      const { config } = parseConfig(`dbs: [{path: "${path}"}]`, options);
      assert.equal(config.databases[0]?.path, '/x.db', path);
    }
  });

  it('CFG-14: a folder has the name that people read, and an encoded one of old is found and named', (t) => {
    const folder = join(tempDir(t), 'mit leer', 'é');
    for (const url of [`file://${folder}`, pathToFileURL(folder).href]) {
      assert.deepEqual(resolveReplica({ url }).location, { type: 'file', path: folder });
      assert.deepEqual(urlWarnings({ url }, 'url'), []);
    }
    const encoded = encodeURI(folder);
    mkdirSync(encoded, { recursive: true });
    const url = `file://${folder}`;
    assert.deepEqual(resolveReplica({ url }).location, { type: 'file', path: encoded });
    assert.deepEqual(urlWarnings({ url }, 'url').map(shown), [
      `replica folder has a percent-encoded name, as other releases wrote it | url | ${encoded}`,
    ]);
  });

  it('CFG-15: what crashed the reference is an error that names the key', () => {
    for (const [text, message] of [
      ['dbs: [null]', 'database config #1: entry is empty'],
      ['dbs:\n  -\n', 'database config #1: entry is empty'],
      ['levels: [~]', 'levels[0]: entry is empty'],
      ['dbs: [{path: /a, replicas: [null]}]', 'dbs[/a].replicas[0]: entry is empty'],
      [
        'logging: {type: xml}',
        'logging.type: unknown log type "xml" (expected text, json or pretty)',
      ],
    ] as const) {
      assert.throws(() => parseConfig(text, options), { code: 'ERR_CONFIG', message });
    }
  });
});
