import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { isLitestreamError } from '../lib/errors.ts';
import { resolveDatabase } from './database.ts';
import { expandEnv } from './expand-env.ts';
import { commandLineConfig, defaultConfig } from './build.ts';
import { loadConfig, parseConfig } from './load.ts';
import { isReplicaUrl, normalizePath } from './path.ts';
import { resolveScalar } from './scalar.ts';
import { parseSize } from './size.ts';

const options = { environment: {}, expandEnv: true, pid: 42 };

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(isLitestreamError(error), String(error));
    return error.message;
  }
  assert.fail('nothing was thrown');
}

const ENVIRONMENT: Readonly<Record<string, string>> = { A: 'VAL', _A: 'under', B: '$A' };
const EXPANSIONS: readonly (readonly [text: string, want: string])[] = [
  ['$A', 'VAL'],
  ['${A}b', 'VALb'],
  ['$A.db', 'VAL.db'],
  ['$Ab', ''],
  ['${A:-default}', ''],
  ['$$A', 'A'],
  ['$1x', 'x'],
  ['$*x', 'x'],
  ['a$', 'a$'],
  ['$ x', '$ x'],
  ['$(cmd)', '$(cmd)'],
  ['"$"', '"$"'],
  ['x${}', 'x'],
  ['${A', 'A'],
  ['\\$A', '\\VAL'],
  ['$_A', 'under'],
  ['${A}}', 'VAL}'],
  ['$B', '$A'],
  ['# $A: x', '# VAL: x'],
];
for (const [text, want] of EXPANSIONS) {
  test(`expands ${text} to ${JSON.stringify(want)}`, () => {
    assert.equal(
      expandEnv(text, (name) => ENVIRONMENT[name]),
      want,
    );
  });
}

test('text without a dollar sign is never changed', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const plain = text.replaceAll('$', '');
      assert.equal(
        expandEnv(plain, () => 'x'),
        plain,
      );
    }),
  );
});

const SCALARS: readonly (readonly [text: string, tag: string, value?: unknown])[] = [
  ['', '!!null'],
  ['~', '!!null'],
  ['null', '!!null'],
  ['yes', '!!bool', true],
  ['Off', '!!bool', false],
  ['tRue', '!!str'],
  ['0600', '!!int', 384n],
  ['0o600', '!!int', 384n],
  ['0x1B0', '!!int', 432n],
  ['0b11', '!!int', 3n],
  ['1_000', '!!int', 1000n],
  ['-5', '!!int', -5n],
  ['0', '!!int', 0n],
  ['089', '!!float', 89],
  ['1.5', '!!float', 1.5],
  ['1e3', '!!float', 1000],
  ['.inf', '!!float', Infinity],
  ['1d', '!!str'],
  ['1.2.3', '!!str'],
  ['2026-01-01', '!!str'],
];
for (const [text, tag, value] of SCALARS) {
  test(`NODE-08 the plain scalar ${JSON.stringify(text)} is ${tag}`, () => {
    const scalar = resolveScalar(text, true);
    assert.equal(scalar.tag, tag);
    assert.equal('value' in scalar ? scalar.value : undefined, value);
    assert.equal(resolveScalar(text, false).tag, '!!str');
  });
}

const SIZES: readonly (readonly [text: string, bytes: number])[] = [
  ['5MB', 5_000_000],
  ['1.5gb', 1_500_000_000],
  ['1,000k', 1_000_000],
  ['5 MiB', 5_242_880],
  ['5mib', 5_242_880],
  ['1Ki', 1024],
  ['12B', 12],
  ['0', 0],
  ['.5K', 500],
  ['1.0009k', 1000],
];
for (const [text, bytes] of SIZES) {
  test(`the size ${text} is ${bytes} bytes`, () => assert.equal(parseSize(text), bytes));
}

const BAD_SIZES: readonly (readonly [text: string, message: string])[] = [
  ['5X', 'invalid size format: unhandled size name: x'],
  ['  ', 'empty size string'],
  ['MB', 'invalid size format: strconv.ParseFloat: parsing "": invalid syntax'],
  ['-1', 'invalid size format: strconv.ParseFloat: parsing "": invalid syntax'],
  ['100EB', 'invalid size format: too large: 100EB'],
  ['10EB', 'size 10000000000000000000 exceeds maximum allowed value (9223372036854775807)'],
];
for (const [text, want] of BAD_SIZES) {
  test(`the size ${JSON.stringify(text)} is refused`, () => {
    assert.equal(
      message(() => parseSize(text)),
      want,
    );
  });
}

test('paths lose their sqlite scheme, gain the home and working directory, and are cleaned', () => {
  const cases: readonly (readonly [text: string, want: string])[] = [
    ['rel.db', join(process.cwd(), 'rel.db')],
    ['/a//b/', '/a/b'],
    ['~', homedir()],
    ['~/x.db', join(homedir(), 'x.db')],
    ['~user/x', join(process.cwd(), '~user/x')],
    ['sqlite:///x.db', '/x.db'],
    ['sqlite3://x.db', join(process.cwd(), 'x.db')],
    ['SQLITE:///x', join(process.cwd(), 'SQLITE:/x')],
  ];
  for (const [text, want] of cases) assert.equal(normalizePath(text), want, text);
});

test('only arguments with a scheme other than sqlite name replicas', () => {
  for (const url of ['s3://b/p', 'file:///r', 'x_1://']) assert.ok(isReplicaUrl(url), url);
  for (const path of ['/a', 'a.db', 'sqlite:///a', 'sqlite3://a', 's-3://b']) {
    assert.ok(!isReplicaUrl(path), path);
  }
});

test('an empty file gives the defaults', () => {
  const { config, warnings } = parseConfig('', options);
  assert.deepEqual(config, defaultConfig());
  assert.deepEqual(warnings, []);
  assert.deepEqual(
    config.levels.map(({ intervalMs }) => intervalMs),
    [30_000, 300_000, 3_600_000],
  );
  assert.equal(config.snapshotRetentionMs, 86_400_000);
  assert.equal(config.socket.permissions, 0o600);
});

test('null sections mean defaults, except for the list of levels', () => {
  const { config } = parseConfig('dbs: ~\nsnapshot:\nsocket:\nlevels:\nlogging:\n', options);
  assert.deepEqual(config, { ...defaultConfig(), levels: [] });
});

test('settings of the file and of a database reach replicas that do not set them', () => {
  const { config } = parseConfig(
    `sync-interval: 10s
skip-verify: true
region: eu-west-1
dbs:
  - {path: /a.db, region: db-1, replica: {type: s3, bucket: one, sync-interval: 1m, skip-verify: false}}
  - {path: /b.db, replicas: [{type: s3, bucket: two, region: own, force-path-style: false}]}
`,
    options,
  );
  const [first, second] = config.databases;
  assert.equal(first?.replica?.region, 'db-1');
  assert.equal(first.replica['skip-verify'], true);
  assert.equal(first.replica['sync-interval'], 60_000);
  assert.equal(second?.replicas[0]?.region, 'own');
  assert.equal(second.replicas[0]['sync-interval'], 10_000);
  assert.equal(second.replicas[0]['force-path-style'], false);
});

const INVALID: readonly (readonly [text: string, message: string])[] = [
  [
    'snapshot: {retention: -90m}\n',
    'snapshot.retention: snapshot retention must be greater than 0 (got -1h30m0s)',
  ],
  [
    'levels: [{interval: 1s}, {}]\n',
    'levels[1].interval: compaction interval must be greater than 0 (got 0s)',
  ],
  ['watchdog-threshold: -1s\n', 'watchdog-threshold: must be >= 0 (got -1s)'],
  ['dbs: [null]\n', 'database config #1: entry is empty'],
  ['levels: [~]\n', 'levels[0]: entry is empty'],
  ['dbs: [{path: /a.db, replicas: [null]}]\n', 'dbs[/a.db].replicas[0]: entry is empty'],
  [
    'dbs: [{path: /a}, {path: /x/../a}]\n',
    'database config #2: duplicate path "/a" (already used by database config #1); each database can be listed only once',
  ],
  [
    'dbs: [{path: a, snapshot: {interval: 1h}}, {dir: b, snapshot: {interval: 2h}}]\n',
    'conflicting database snapshot intervals: a has 1h0m0s, b has 2h0m0s',
  ],
  [
    'logging: {type: JSON}\n',
    'logging.type: unknown log type "JSON" (expected text, json or pretty)',
  ],
  ['dbs:\n\t- path: x\n', 'yaml: line 2: found character that cannot start any token'],
  ['a: *x\n', "yaml: unknown anchor 'x' referenced"],
  [
    'dbs:\n - path: /a.db\n   monitor-interval: 1d\n   busy-timeout: [1]\nlogging: {stderr: 12345678901}\n',
    'yaml: unmarshal errors:\n  line 3: cannot unmarshal !!str `1d` into time.Duration\n' +
      '  line 4: cannot unmarshal !!seq into time.Duration\n' +
      '  line 5: cannot unmarshal !!int `1234567...` into bool',
  ],
  ['exec: [a, b]\n', 'yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string'],
];
for (const [text, want] of INVALID) {
  test(`refuses ${JSON.stringify(text)}`, () => {
    assert.equal(
      message(() => parseConfig(text, options)),
      want,
    );
  });
}

test('keys that nothing reads are named, with what was probably meant', () => {
  const { warnings } = parseConfig(
    `x-common: {a: 1}
template: &t {path: /r}
snapshoot: {interval: 1h}
dbs:
  - path: /a.db
    vfs: {shared: true}
    replica: {<<: *t, retention-check-interval: 1h, sync_interval: 1s, colour: blue}
sync-interval: 5
`,
    options,
  );
  assert.deepEqual(
    warnings.map(({ message: text, attributes }) => [text, attributes['key'], attributes['hint']]),
    [
      ['ignoring unknown configuration key', 'snapshoot', 'did you mean snapshot'],
      [
        'ignoring unsupported configuration key',
        'dbs[0].replica.retention-check-interval',
        'retention is enforced with each snapshot: use snapshot-interval',
      ],
      [
        'ignoring unknown configuration key',
        'dbs[0].replica.sync_interval',
        'did you mean sync-interval',
      ],
      ['ignoring unknown configuration key', 'dbs[0].replica.colour', undefined],
      ['duration without unit means nanoseconds', 'sync-interval', 'write 5s for seconds'],
    ],
  );
});

test('a file is expanded, read and validated; a missing one and a folder are named', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'config-'));
  const file = join(folder, 'c.yml');
  writeFileSync(
    file,
    '\uFEFFdbs: [{path: "/$NAME/$PID", replica: {path: /r}}]\r\n---\nnot: [valid\n',
  );
  const environment = { NAME: 'n', LITESTREAM_CONFIG: file };
  const { config } = await loadConfig('', { environment, expandEnv: true, pid: 7 });
  assert.equal(config.databases[0]?.path, '/n/7');
  const missing = join(folder, 'no.yml');
  await assert.rejects(loadConfig(missing, options), {
    code: 'ERR_CONFIG_NOT_FOUND',
    message: `config file not found: ${missing}`,
  });
  await assert.rejects(loadConfig(folder, options), { message: `read ${folder}: is a directory` });
});

test('replicas of a database have names to choose them by', () => {
  const config = commandLineConfig('/a.db', ['file:///x', 'file:///y', 's3://b/p']);
  const [database] = config.databases;
  assert.ok(database);
  const resolved = resolveDatabase(database);
  assert.deepEqual(
    resolved.replicas.map(({ name }) => name),
    ['file', 'file-2', 's3'],
  );
  assert.equal(resolved.metaPath, '/.a.db-litestream');
  assert.equal(resolved.replicas[0]?.syncIntervalExplicit, false);
});
