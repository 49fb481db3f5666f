import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv';
import { parse } from 'yaml';
import type { Kind, Schema } from './decode.ts';
import { configJsonSchema } from './json-schema.ts';
import { parseConfig } from './load.ts';
import { fileSchema } from './keys.ts';

const validate = new AjvJsonSchemaValidator().getValidator(configJsonSchema());

function complaint(value: unknown): string | undefined {
  return validate(value).errorMessage;
}

/** Values that the parser reads, and values that it refuses. */
const SAMPLES: Readonly<Record<string, readonly [good: unknown[], bad: unknown[]]>> = {
  string: [
    ['a', '', 7, true, null],
    [[], {}, ['a']],
  ],
  bool: [
    [true, false, 'yes', 'Off', null, '${X}'],
    ['maybe', 7, [], {}],
  ],
  duration: [
    ['10s', '1h30m', '1.5s', '-1ms', '0', 0, null, '${X}'],
    ['10', '1 day', 's', [], {}, true],
  ],
  int: [
    [7, -1, null, '$X'],
    ['seven', [], {}, true],
  ],
  int64: [
    [7, -1, null],
    ['seven', [], {}, true],
  ],
  uint32: [
    [0o600, 0, null],
    [-1, 2 ** 32, 'x', [], {}, true],
  ],
  size: [
    ['5MB', '1.5gb', '1,000k', '5 MiB', 5, null],
    ['5 XB', 'big', -1, [], {}, true],
  ],
  strings: [
    [['a', 7], [], null],
    ['a', {}, [['a']], [{}]],
  ],
};

interface Place {
  readonly path: string;
  readonly kind: Kind;
  /** The file that says this value at this place and nothing else. */
  readonly wrap: (value: unknown) => unknown;
}

function* places(schema: Schema, prefix: string, wrap: Place['wrap']): Generator<Place> {
  for (const [key, kind] of Object.entries(schema)) {
    const path = `${prefix}${key}`;
    const within = (value: unknown): unknown => wrap({ [key]: value });
    yield { path, kind, wrap: within };
    if (typeof kind === 'string') continue;
    if ('map' in kind) yield* places(kind.map, `${path}.`, within);
    else yield* places(kind.list, `${path}[].`, (value) => within([value]));
  }
}

const ALL: readonly Place[] = [...places(fileSchema, '', (value) => value)];

const EXAMPLES: readonly string[] = [
  '',
  'dbs:\n  - path: /app.db\n    replica: { url: "s3://bucket/db" }\n',
  `addr: ":9090"
mcp-addr: "127.0.0.1:3001"
socket: { enabled: yes, path: /run/l.sock, permissions: 0600 }
levels: [{ interval: 30s }, { interval: 5m }]
snapshot: { interval: 24h, retention: 72h }
logging: { level: debug, type: json, stderr: on }
x-defaults: &defaults { sync-interval: 10s }
dbs:
  - dir: /data
    pattern: "*.db"
    watch: true
    replica:
      type: s3
      bucket: \${BUCKET}
      path: db
      part-size: 5MB
      sync-interval: \${INTERVAL}
  - path: /b.db
    truncate-page-n: 0
    replicas:
      - { type: file, path: /backup }
      - { type: nats, url: "nats://host/bucket", root-cas: [/ca.pem] }
      - { type: gcs, bucket: b, retention: 168h, snapshot-interval: 24h }
`,
];

describe('the JSON Schema of litestream.yml', () => {
  it('CFG-03: knows every key of every backend, with the values that the parser takes and no others', () => {
    assert.ok(ALL.length > 200, `${ALL.length} places`);
    for (const { path, kind, wrap } of ALL) {
      if (typeof kind !== 'string') {
        const [good, bad] = 'map' in kind ? [{}, []] : [[], {}];
        assert.equal(complaint(wrap(good)), undefined, path);
        for (const value of [bad, 'text', 7]) assert.ok(complaint(wrap(value)), path);
        continue;
      }
      const [good = [], bad = []] = SAMPLES[kind] ?? [];
      assert.ok(good.length > 0, kind);
      for (const value of path.endsWith('.type') || path.endsWith('.promote')
        ? [null, '${X}']
        : good) {
        assert.equal(complaint(wrap(value)), undefined, `${path}: ${JSON.stringify(value)}`);
      }
      for (const value of bad)
        assert.ok(complaint(wrap(value)), `${path}: ${JSON.stringify(value)}`);
    }
  });

  it('takes what the parser takes', () => {
    const options = { environment: { BUCKET: 'b', INTERVAL: '5s' }, expandEnv: true, pid: 1 };
    for (const text of EXAMPLES) {
      assert.deepEqual(parseConfig(text, options).warnings, [], text);
      // An editor reads the newer YAML, in which an empty file is null and `yes` a string.
      assert.equal(complaint(parse(text) ?? {}), undefined, text);
    }
  });

  it('names replica types and log types', () => {
    for (const type of ['file', 's3', 'gs', 'gcs', 'abs', 'sftp', 'nats', 'oss', 'webdav']) {
      assert.equal(complaint({ dbs: [{ path: '/a', replica: { type } }] }), undefined, type);
    }
    assert.ok(complaint({ dbs: [{ path: '/a', replica: { type: 'ftp' } }] }));
    assert.equal(complaint({ logging: { type: 'pretty' } }), undefined);
    assert.ok(complaint({ logging: { type: 'xml' } }));
  });

  it('describes every key', () => {
    const texts: string[] = [];
    const look = (schema: unknown, path: string): void => {
      if (typeof schema !== 'object' || schema === null) return;
      const { properties, items } = schema as { properties?: object; items?: unknown };
      for (const [key, value] of Object.entries(properties ?? {}) as [string, object][]) {
        const text = 'description' in value ? value.description : undefined;
        assert.ok(typeof text === 'string', `${path}${key}`);
        assert.match(text, /^\S.{3,150}[.…]$/, `${path}${key}`);
        texts.push(text);
        look(value, `${path}${key}.`);
      }
      look(items, `${path}[].`);
    };
    look(configJsonSchema(), '');
    assert.equal(texts.length, ALL.length);
  });

  it('takes the example of this repository, which the parser takes without a warning', () => {
    const text = readFileSync(join(import.meta.dirname, '../../etc/litestream.yml'), 'utf8');
    const environment = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 's' };
    const options = { environment, expandEnv: true, pid: 1 };
    const { config, warnings } = parseConfig(text, options);
    assert.deepEqual(warnings, []);
    assert.ok(config.databases.length > 0);
    assert.equal(complaint(parse(text)), undefined);
    // What stands there as a comment is meant to be uncommented, line by line.
    const lines = text.split('\n').map((line) => line.replace(/^( *)#(?! |$)/, '$1'));
    const whole = lines.join('\n');
    assert.deepEqual(parseConfig(whole, options).warnings, []);
    assert.equal(complaint(parse(whole)), undefined);
  });

  it('marks keys that nothing reads', () => {
    for (const value of [
      { intervall: '1s' },
      { dbs: [{ path: '/a', replica: { url: 'file:///b', snapshot: {} } }] },
      { dbs: [{ path: '/a', replicas: [{ replica: {} }] }] },
      { dbs: [null] },
    ]) {
      assert.ok(complaint(value), JSON.stringify(value));
    }
  });
});
