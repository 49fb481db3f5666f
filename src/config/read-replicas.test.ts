import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { errorMessage } from '../lib/errors.ts';
import { normalizePath, resolveDatabase } from './index.ts';
import { parseConfig } from './load.ts';

const options = { environment: {}, expandEnv: true, pid: 1 };

function parse(text: string): ReturnType<typeof parseConfig> {
  return parseConfig(text, options);
}

function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    return errorMessage(error);
  }
  throw new Error(`accepted: ${text}`);
}

/** A file with one database and these read replicas. */
function withEntries(...entries: readonly string[]): string {
  return `dbs: [{path: /a.db, replica: {path: /r}, read-replicas: [${entries.join(', ')}]}]`;
}

const INVALID: readonly (readonly [entries: readonly string[], message: string])[] = [
  [['{path: /c.db}'], 'dbs[/a.db].read-replicas[0]: name is required'],
  [['{name: "", path: /c.db}'], 'dbs[/a.db].read-replicas[0]: name is required'],
  [
    ['{name: a b, path: /c.db}'],
    'dbs[/a.db].read-replicas[0]: invalid name "a b" (letters, digits, ".", "_" and "-")',
  ],
  [['{name: n}'], 'dbs[/a.db].read-replicas[0]: path is required'],
  [
    ['{name: n, type: postgres, path: /c.db}'],
    'dbs[/a.db].read-replicas[0]: unsupported type "postgres"',
  ],
  [
    ['{name: n, path: /c.db}', '{name: n, path: /d.db}'],
    'dbs[/a.db].read-replicas[1]: duplicate name "n"',
  ],
  [
    ['{name: n, path: /a.db}'],
    'dbs[/a.db].read-replicas[0]: path "/a.db" is already used by database config #1',
  ],
  [
    ['{name: n, path: /c.db}', '{name: m, path: "sqlite:///x/../c.db"}'],
    'dbs[/a.db].read-replicas[1]: path "/c.db" is already used by read replica "n"',
  ],
  [
    ['{name: n, path: /c.db, follow-interval: 0}'],
    'dbs[/a.db].read-replicas[0]: follow-interval must be greater than 0 (got 0s)',
  ],
  [
    ['{name: n, path: /c.db, lag-alert: -1m}'],
    'dbs[/a.db].read-replicas[0]: lag-alert must be >= 0 (got -1m0s)',
  ],
  [
    ['{name: n, path: /c.db, promote: always}'],
    'dbs[/a.db].read-replicas[0]: unsupported promote "always" (expected manual or auto)',
  ],
  [
    ['{name: n, path: /c.db, promote: auto}'],
    'dbs[/a.db].read-replicas[0]: promote "auto" needs a replica with `lease: true`, which keeps the old primary from writing',
  ],
  [['null'], 'dbs[/a.db].read-replicas[0]: entry is empty'],
  [
    ['{name: n, path: /c.db, follow-interval: fast}'],
    'yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `fast` into time.Duration',
  ],
];

describe('read-replicas', () => {
  it('are read with their defaults, and said to be kept up to date by nobody yet', () => {
    const { config, warnings } = parse(
      withEntries(
        '{name: reporting, path: ~/rep.db}',
        '{name: b.2-c_d, type: sqlite, path: /c.db, follow-interval: 100ms, lag-alert: 30s, promote: manual}',
      ),
    );
    assert.deepEqual(config.databases[0]?.readReplicas, [
      {
        name: 'reporting',
        type: 'sqlite',
        path: normalizePath('~/rep.db'),
        followIntervalMs: 1000,
        lagAlertMs: undefined,
        promote: 'manual',
      },
      {
        name: 'b.2-c_d',
        type: 'sqlite',
        path: '/c.db',
        followIntervalMs: 100,
        lagAlertMs: 30_000,
        promote: 'manual',
      },
    ]);
    const [warning] = warnings;
    assert.equal(warnings.length, 1);
    assert.equal(warning?.attributes['key'], 'dbs[0].read-replicas');
    assert.match(warning.attributes['hint'] ?? '', /not available in this version/);
  });

  for (const [entries, message] of INVALID) {
    it(`refuses ${entries.join(', ')}`, () => {
      assert.equal(refusal(withEntries(...entries)), message);
    });
  }

  it('collide with databases that are listed later, and with those of other databases', () => {
    assert.equal(
      refusal(
        'dbs: [{path: /a, replica: {path: /r}, read-replicas: [{name: n, path: /b}]}, {path: /b, replica: {path: /s}}]',
      ),
      'dbs[/a].read-replicas[0]: path "/b" is already used by database config #2',
    );
    assert.equal(
      refusal(
        'dbs: [{path: /a, read-replicas: [{name: n, path: /c}]}, {path: /b, read-replicas: [{name: n, path: /d}]}]',
      ),
      'dbs[/b].read-replicas[0]: duplicate name "n"',
    );
    assert.equal(
      refusal('dbs: [{dir: /d, pattern: "*", read-replicas: [{name: n, path: /c}]}]'),
      "database config #1: 'read-replicas' cannot be used with a directory",
    );
  });

  it('may be promoted automatically where the primary holds a lease', () => {
    const replica = 'replica: {type: s3, bucket: b, lease: true}';
    const entry = 'read-replicas: [{name: n, path: /c, promote: auto}]';
    const { config } = parse(`dbs: [{path: /a, ${replica}, ${entry}}]`);
    assert.equal(config.databases[0]?.readReplicas[0]?.promote, 'auto');
    parse(`lease: true\ndbs: [{path: /a, replica: {type: s3, bucket: b}, ${entry}}]`);
  });
});

describe('retention and snapshot-interval of one replica', () => {
  it('belong to that replica alone', () => {
    const { config, warnings } = parse(`
snapshot: {interval: 2h, retention: 3h}
dbs:
  - path: /a
    replicas:
      - {path: /r, retention: 168h, snapshot-interval: 24h}
      - {path: /s}
`);
    const [database] = config.databases;
    assert.ok(database !== undefined);
    const { replicas } = resolveDatabase(database);
    assert.deepEqual(
      replicas.map(({ retentionMs, snapshotIntervalMs }) => [retentionMs, snapshotIntervalMs]),
      [
        [168 * 3_600_000, 24 * 3_600_000],
        [undefined, undefined],
      ],
    );
    assert.equal(config.snapshotIntervalMs, 2 * 3_600_000);
    assert.deepEqual(warnings, []);
  });

  it('are refused where they are not greater than 0, after the sync interval', () => {
    for (const [keys, message] of [
      [
        'replica: {path: /r, retention: 0}',
        'dbs[/a].replica.retention: snapshot retention must be greater than 0 (got 0s)',
      ],
      [
        'replicas: [{path: /r}, {path: /s, snapshot-interval: -1h}]',
        'dbs[/a].replicas[1].snapshot-interval: snapshot interval must be greater than 0 (got -1h0m0s)',
      ],
      [
        'replica: {path: /r, retention: 0, sync-interval: 0}',
        'dbs[/a].replica.sync-interval: sync interval must be greater than 0 (got 0s)',
      ],
    ] as const) {
      assert.equal(refusal(`dbs: [{path: /a, ${keys}}]`), message);
    }
  });
});
