import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { resolveDatabase } from '../config/index.ts';
import { parseConfig } from '../config/load.ts';
import { Store } from '../engine/index.ts';
import { systemClock } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import { MemoryClient } from '../testing/index.ts';
import { AppDatabase } from '../../test/support/app-database.ts';
import { databaseOptions, type RecordingLogger, testPorts } from '../../test/support/engine.ts';
import { waitFor } from '../../test/support/wait.ts';
import { startDirectoryMonitor } from './directory-monitor.ts';

interface Bench {
  readonly folder: string;
  readonly store: Store;
  readonly logger: RecordingLogger;
  /** Paths below the folder, as the store has them. */
  readonly listed: () => string[];
  /** Waits until the store has exactly these. */
  readonly settles: (...paths: string[]) => Promise<void>;
}

async function watchFolder(
  t: TestContext,
  { before, refuse }: { before?: (folder: string) => void; refuse?: RegExp } = {},
): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), 'watched-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const ports = testPorts();
  const options = {
    databases: [],
    shutdownSyncTimeoutMs: 100,
    shutdownSyncIntervalMs: 50,
    levels: [],
    snapshotIntervalMs: 0,
    snapshotRetentionMs: 0,
    l0RetentionMs: 0,
    l0RetentionCheckIntervalMs: 0,
    retentionEnabled: false,
    verifyCompaction: false,
    monitors: true,
  };
  const store = new Store(options, ports);
  await store.open();
  before?.(folder);
  const text = `dbs: [{dir: ${folder}, pattern: '*.db', recursive: yes, watch: yes, replica: {path: ${folder}-r}}]`;
  const { config } = parseConfig(text, { environment: {}, expandEnv: false, pid: 1 });
  const [entry] = config.databases;
  assert.ok(entry !== undefined);
  const monitor = await startDirectoryMonitor({
    entry,
    store,
    clock: systemClock,
    logger: ports.logger,
    known: [],
    createDatabase: async (database) => {
      const { metaPath, path, replicas } = resolveDatabase(database);
      if (refuse?.test(path) === true) throw new LitestreamError('ERR_CONFIG', 'refused');
      const location = JSON.stringify(replicas[0]?.location);
      const client = new MemoryClient({ path: location });
      return databaseOptions(path, [client], { metaPath, monitorIntervalMs: 50 });
    },
  });
  t.after(async () => {
    await monitor.close();
    await store.close();
  });
  const listed = (): string[] =>
    store
      .observe()
      .map(({ path }) => path.slice(folder.length + 1))
      .toSorted();
  return {
    folder,
    store,
    logger: ports.logger,
    listed,
    settles: async (...paths) => {
      const wanted = JSON.stringify(paths.toSorted());
      const what = `${wanted}, not ${JSON.stringify(listed())}`;
      await waitFor(() => JSON.stringify(listed()) === wanted, { what });
    },
  };
}

test('CFG-06 databases that appear, also in new folders, are added, and are what the replica holds', async (t) => {
  const { folder, settles, store, logger } = await watchFolder(t, {
    before: (path) => writeFileSync(join(path, 'early.db'), 'SQLite format 3\0'),
  });
  await settles('early.db');
  rmSync(join(folder, 'early.db'));
  await settles();
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  const app = new AppDatabase(t, join(folder, 'a/b/new.db'));
  await settles('a/b/new.db');
  app.insert();
  const path = join(folder, 'a/b/new.db');
  const { txid, replicatedTxid } = await store.sync(path, { wait: true });
  assert.ok(txid > 0n && replicatedTxid === txid);
  const added = logger.records.filter(({ message }) => message === 'added database to replication');
  assert.deepEqual(added.at(-1)?.attributes, { dir: folder, path });
});

test('what is not a database yet, or matches no pattern, is left alone until it is one', async (t) => {
  const { folder, settles, logger } = await watchFolder(t);
  writeFileSync(join(folder, 'empty.db'), '');
  writeFileSync(join(folder, 'text.db'), 'not a database, but long enough');
  writeFileSync(join(folder, 'other.sqlite'), 'SQLite format 3\0');
  writeFileSync(join(folder, 'x.db-wal'), 'SQLite format 3\0');
  const app = new AppDatabase(t, join(folder, 'real.db'));
  await settles('real.db');
  writeFileSync(join(folder, 'empty.db'), 'SQLite format 3\0');
  await settles('empty.db', 'real.db');
  app.insert();
  assert.deepEqual(
    logger.messages('error').filter((text) => text !== 'sync error'),
    [],
  );
});

test('OPS-24 deleted and renamed databases are let go, and a name may come back', async (t) => {
  const { folder, settles, logger, store } = await watchFolder(t);
  const make = (name: string): AppDatabase => new AppDatabase(t, join(folder, name));
  mkdirSync(join(folder, 'sub'));
  const [one, two, three] = [make('one.db'), make('two.db'), make('sub/three.db')];
  await settles('one.db', 'two.db', 'sub/three.db');
  for (const app of [one, two, three]) {
    await store.sync(app.path, { wait: true });
    app.close();
  }
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${one.path}${suffix}`, { force: true });
  renameSync(two.path, join(folder, 'renamed.db'));
  rmSync(join(folder, 'sub'), { recursive: true });
  await settles('renamed.db');
  make('one.db').insert();
  await settles('renamed.db', 'one.db');
  const { txid } = await store.sync(one.path, { wait: true });
  assert.ok(txid > 0n);
  assert.deepEqual(logger.messages('error'), []);
});

test('CFG-06 a storm of new databases is one burst of work, and nothing is missed', async (t) => {
  const { folder, store } = await watchFolder(t);
  const names = Array.from({ length: 300 }, (_, n) => `${n}.db`);
  for (const name of names) writeFileSync(join(folder, name), 'SQLite format 3\0');
  await waitFor(() => store.databaseCount === 300, { what: 'all databases' });
  for (const name of names) rmSync(join(folder, name));
  await waitFor(() => store.databaseCount === 0, {
    what: 'all databases to go',
    timeoutMs: 60_000,
  });
});

test('one that cannot be added is said once, and disturbs no other', async (t) => {
  const { folder, settles, logger } = await watchFolder(t, { refuse: /bad/ });
  writeFileSync(join(folder, 'bad.db'), 'SQLite format 3\0');
  const good = new AppDatabase(t, join(folder, 'good.db'));
  await settles('good.db');
  // A second name of a managed file is not opened, and not replicated twice.
  linkSync(good.path, join(folder, 'link.db'));
  await waitFor(() => logger.messages('error').length >= 2, { what: 'the link to be noticed' });
  new AppDatabase(t, join(folder, 'good2.db')).insert();
  await settles('good.db', 'good2.db');
  assert.deepEqual(
    logger.records
      .filter(({ level }) => level === 'error')
      .map(({ message, attributes }) => [message, attributes['path']]),
    [
      ['configure database', join(folder, 'bad.db')],
      ['register database with store', join(folder, 'link.db')],
    ],
  );
});

test('a database that was unregistered by hand stays away until its file is a new one', async (t) => {
  const { folder, settles, store } = await watchFolder(t);
  const app = new AppDatabase(t, join(folder, 'one.db'));
  await settles('one.db');
  await store.unregister(app.path);
  const other = new AppDatabase(t, join(folder, 'two.db'));
  await settles('two.db');
  other.insert();
  app.close();
  rmSync(app.path);
  const third = new AppDatabase(t, join(folder, 'three.db'));
  await settles('two.db', 'three.db');
  third.insert();
  new AppDatabase(t, app.path).insert();
  await settles('one.db', 'two.db', 'three.db');
});
