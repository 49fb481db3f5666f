/** SIGKILL before and after file operations that take preparations; and no file operation without such a test. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import type { DeadlyOrder } from '../support/deadly-child.ts';
import { DAEMON, ELSEWHERE, LOOK, RARE, RESTORE } from '../support/kill-labels.ts';
import { tempDir } from '../support/temp-dir.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { restoreDatabase } from '../../src/restore/index.ts';
import { openFileReplica } from '../../src/storage/index.ts';
import { noopLogger } from '../../src/telemetry/index.ts';

const ROOT = join(import.meta.dirname, '../..');
const CHILD = join(ROOT, 'test/support/deadly-child.ts');
/** Where capture, upload, compaction, retention and restore work on files. */
const FOLDERS = ['compaction', 'engine', 'restore', 'sqlite', 'storage/providers/file'];
/** Databases that follow a replica: their tests are beside them. */
const FOLLOW = /^follow:/;

function labelsIn(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const sources = entries.filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'));
  return sources.flatMap((name) =>
    Array.from(
      readFileSync(join(folder, name), 'utf8').matchAll(/'([a-z][a-z\d]*:[a-z][a-z-]*)'/g),
      ([, label = '']) => label,
    ),
  );
}

test('each file operation of capture, upload, compaction, retention and restore is one at which processes die', () => {
  const found = new Set(FOLDERS.flatMap((folder) => labelsIn(join(ROOT, 'src', folder))));
  const changing = [...found].filter(
    (label) => !label.startsWith('node:') && !LOOK.test(label) && !FOLLOW.test(label),
  );
  const known = [...DAEMON, ...RESTORE, ...RARE, ...Object.keys(ELSEWHERE)];
  assert.deepEqual(changing.toSorted(), known.toSorted());
});

interface Site {
  readonly database: string;
  readonly meta: string;
  readonly replica: string;
  readonly newest: () => string;
  readonly commit: () => void;
}

interface Rare extends Omit<DeadlyOrder, 'database' | 'replica' | 'label' | 'after'> {
  readonly comesTo: string;
  readonly prepare?: (site: Site) => void;
}

const SCENES: readonly Rare[] = [
  {
    comesTo: 'l0:clean',
    what: 'settle',
    prepare: ({ meta }) =>
      writeFileSync(join(meta, 'ltx/0/0000000000000009-0000000000000009.ltx.tmp'), 'half'),
  },
  {
    comesTo: 'l0:fetch',
    what: 'settle',
    prepare: ({ meta }) => rmSync(meta, { recursive: true }),
  },
  {
    comesTo: 'l0:reset',
    what: 'settle',
    autoRecover: true,
    prepare: ({ newest }) => writeFileSync(newest(), readFileSync(newest()).subarray(0, 300)),
  },
  {
    comesTo: 'l0:discard',
    what: 'settle',
    fails: 'l0:write',
    prepare: ({ commit }) => commit(),
  },
  {
    comesTo: 'file:clean-up',
    what: 'settle',
    fails: 'file:sync',
    prepare: ({ commit }) => commit(),
  },
];

/** Runs it to its end; true if it died on the way. */
function run(order: DeadlyOrder): { died: boolean; status: number | null; stderr: string } {
  const { signal, status, stderr } = spawnSync(process.execPath, [CHILD, JSON.stringify(order)], {
    encoding: 'utf8',
  });
  return { died: signal === 'SIGKILL', status, stderr };
}

function succeed(order: DeadlyOrder): void {
  const { status, stderr } = run(order);
  assert.equal(status, 0, stderr);
}

/** A database that is replicated so far. */
function siteOf(t: TestContext): Site {
  const folder = tempDir(t);
  const database = join(folder, 'app.db');
  const meta = `${database}-meta`;
  const replica = join(folder, 'replica');
  const app = new AppDatabase(t, database);
  succeed({ what: 'settle', database, replica });
  const local = join(meta, 'ltx/0');
  return {
    database,
    meta,
    replica,
    newest: () => join(local, readdirSync(local).toSorted().at(-1) ?? ''),
    commit: () => app.insert(3),
  };
}

async function assertRestores({ database, meta, replica }: Site): Promise<void> {
  const outputPath = join(meta, '../restored.db');
  const ports = { fileSystem: nodeFileSystem, clock: systemClock, logger: noopLogger };
  const client = await openFileReplica(replica, ports);
  await restoreDatabase({ client, outputPath, target: {}, ...ports });
  assert.equal(integrityOf(outputPath), 'ok');
  assert.equal(contentOf(outputPath), contentOf(database));
  const names = [join(meta, 'ltx/0'), join(replica, 'ltx/0')].flatMap((path) => readdirSync(path));
  assert.deepEqual(
    names.filter((name) => !name.endsWith('.ltx')),
    [],
  );
}

for (const { comesTo: label, prepare, ...order } of SCENES) {
  test(`the daemon dies before and after ${label}, and nothing is lost`, async (t) => {
    const site = siteOf(t);
    const { database, replica } = site;
    for (const after of [false, true]) {
      prepare?.(site);
      const { died, stderr } = run({ ...order, database, replica, label, after });
      assert.ok(died, `it came up: ${stderr}`);
    }
    succeed({ what: 'settle', database, replica, autoRecover: order.autoRecover ?? false });
    await assertRestores(site);
  });
}

for (const [label, fails] of [
  ['restore:owner', undefined],
  ['integrity:remove', undefined],
  ['restore:discard', 'restore:sync'],
] as const) {
  test(`a restore over a database dies before and after ${label}: the old one or the new one is there`, (t) => {
    const site = siteOf(t);
    const { database, replica } = site;
    const folder = tempDir(t);
    const output = join(folder, 'out.db');
    const order: DeadlyOrder = { what: 'restore', database, replica, output, force: true };
    succeed(order);
    const wanted = contentOf(output);
    const old = join(folder, '../', `${label.replace(':', '-')}-old.db`);
    t.after(() => rmSync(old, { force: true }));
    new AppDatabase(t, old, { rows: 7 }).checkpoint('TRUNCATE');
    for (const after of [false, true]) {
      for (const suffix of ['', '-wal', '-shm']) rmSync(`${output}${suffix}`, { force: true });
      cpSync(old, output);
      const { died, stderr } = run({ ...order, label, after, ...(fails && { fails }) });
      assert.ok(died, `it came up: ${stderr}`);
      assert.ok([contentOf(old), wanted].includes(contentOf(output)));
      succeed(order);
      assert.equal(contentOf(output), wanted);
      for (const suffix of ['-wal', '-shm']) rmSync(`${output}${suffix}`, { force: true });
      assert.deepEqual(readdirSync(folder), ['out.db']);
      assert.ok(statSync(output).size > 0);
    }
  });
}
