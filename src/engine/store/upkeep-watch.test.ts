import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import type { FileInfo, FileKey, WriteOptions, WriteSource } from '../../storage/index.ts';
import { FakeClock, listAll, MemoryClient, RecordedMetrics } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { databaseOptions, RecordingLogger, testPorts } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { waitFor } from '../../../test/support/wait.ts';
import type { StoreOptions } from '../options.ts';
import { Store } from './store.ts';
import type { UpkeepObservation } from './upkeep-age.ts';
import { UpkeepWatch } from './upkeep-watch.ts';
import { Watchdog } from './watchdog.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const OVERDUE = 'replica upkeep is overdue';
const BACKLOG = 'compaction backlog exceeds threshold';

/** Real time; what is measured can be moved. */
class MovedClock implements Clock {
  #moved = 0;
  now(): number {
    return systemClock.now();
  }
  monotonic(): number {
    return systemClock.monotonic() + this.#moved;
  }
  timer(ms: number, callback: () => void): ReturnType<Clock['timer']> {
    return systemClock.timer(ms, callback);
  }
  move(ms: number): void {
    this.#moved += ms;
  }
}

/** Takes files of low levels; what becomes of others can be chosen. */
class PartialClient extends MemoryClient {
  above: 'written' | 'refused' | 'never answered' = 'written';
  /** The highest level that is not concerned. */
  level = 0;

  override write(key: FileKey, source: WriteSource, options?: WriteOptions): Promise<FileInfo> {
    if (key.level <= this.level || this.above === 'written')
      return super.write(key, source, options);
    if (this.above === 'refused') {
      return Promise.reject(new LitestreamError('ERR_STORAGE_TEMPORARY', 'refused'));
    }
    return new Promise((_resolve, reject) => {
      options?.signal?.addEventListener('abort', () => {
        reject(new LitestreamError('ERR_ABORTED', 'context canceled'));
      });
    });
  }
}

/** Looks every minute for as long as `ms`; returns the last status. */
function watch({ clock, watchdog }: Bench, ms: number): string | undefined {
  let status: string | undefined;
  for (let at = 0; at <= ms; at += MINUTE) {
    status = watchdog.check()[0]?.status;
    clock.move(MINUTE);
  }
  return status;
}

interface Bench {
  readonly app: AppDatabase;
  readonly client: PartialClient;
  readonly clock: MovedClock;
  readonly logger: RecordingLogger;
  readonly metrics: RecordedMetrics;
  readonly path: string;
  readonly store: Store;
  readonly watchdog: Watchdog;
}

async function openBench(t: TestContext, change: Partial<StoreOptions>): Promise<Bench> {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const client = new PartialClient();
  const clock = new MovedClock();
  const metrics = new RecordedMetrics();
  const ports = testPorts({ clock, metrics });
  const store = new Store(
    {
      databases: [databaseOptions(path, [client], { monitorIntervalMs: 20 })],
      shutdownSyncTimeoutMs: 0,
      shutdownSyncIntervalMs: 0,
      levels: [],
      snapshotIntervalMs: 0,
      snapshotRetentionMs: 24 * HOUR,
      l0RetentionMs: 0,
      l0RetentionCheckIntervalMs: HOUR,
      retentionEnabled: true,
      verifyCompaction: false,
      monitors: true,
      ...change,
    },
    ports,
  );
  t.after(() => store.close());
  await store.open();
  const watchdog = new Watchdog({ observe: () => store.observe(), ...ports });
  return { app, client, clock, logger: ports.logger, metrics, path, store, watchdog };
}

for (const [task, above, change] of [
  ['compaction', 'refused', { levels: [{ level: 1, intervalMs: 50 }] }],
  ['compaction', 'never answered', { levels: [{ level: 1, intervalMs: 50 }] }],
  ['snapshot', 'refused', { snapshotIntervalMs: 50 }],
  ['snapshot', 'never answered', { snapshotIntervalMs: 50 }],
] as const) {
  test(`OPS-04 a ${task} that is ${above} for hours makes its database unhealthy, until one succeeds`, async (t) => {
    const bench = await openBench(t, change);
    const { app, client, clock, logger, metrics, path, store, watchdog } = bench;
    const status = (): string | undefined => watchdog.check()[0]?.status;
    const level = task === 'snapshot' ? 9 : 1;
    await waitFor(async () => (await listAll(client, level)).length > 0, { what: 'a first file' });
    await waitFor(() => status() === 'ok', { what: 'health' });
    client.above = above;
    app.insert(1);
    await store.sync(path, { wait: true });
    const waits = (): boolean => {
      watchdog.check();
      return (
        store.observe()[0]?.replicas[0]?.upkeep?.some(({ waitingMs }) => waitingMs > 0) === true
      );
    };
    await waitFor(waits, { what: 'the work to be noticed' });
    clock.move(4 * HOUR);
    assert.equal(status(), 'ok', 'the process stood still');
    assert.equal(watch(bench, HOUR / 2), 'ok');
    assert.equal(watch(bench, HOUR), 'unhealthy');
    assert.equal(metrics.get('litestream_unhealthy', { db: path }), 1);
    const said = logger.records.find(({ message }) => message === OVERDUE);
    assert.equal(said?.level, 'error');
    assert.deepEqual([said.attributes['task'], said.attributes['level']], [task, level]);
    if (above === 'refused') {
      client.above = 'written';
      clock.move(MINUTE);
      app.insert(1);
      await waitFor(() => status() === 'ok', { what: 'the end of the alarm' });
      assert.ok(logger.messages('info').includes('replica upkeep has caught up'));
    }
  });
}

test('OPS-04 level-0 retention that fails for hours makes its database unhealthy', async (t) => {
  const bench = await openBench(t, {
    levels: [{ level: 1, intervalMs: 50 }],
    l0RetentionMs: 1,
    l0RetentionCheckIntervalMs: 20,
  });
  const { app, client, logger, path, store } = bench;
  client.delete = () => Promise.reject(new LitestreamError('ERR_STORAGE_DENIED', 'not allowed'));
  const late = (): boolean => {
    app.insert(1);
    const upkeep = store.observe()[0]?.replicas[0]?.upkeep ?? [];
    return upkeep.some((each) => each.task === 'l0 retention' && each.waitingMs > 200);
  };
  const refused = async (): Promise<boolean> => {
    app.insert(1);
    await store.sync(path, { wait: true });
    return logger.messages('error').some((line) => /l0 retention|L0 time retention/.test(line));
  };
  await waitFor(refused, { what: 'a refused deletion' });
  await waitFor(late, { what: 'the work to be noticed' });
  assert.equal(watch(bench, 2 * HOUR), 'unhealthy');
  const said = logger.records.filter(({ message }) => message === OVERDUE);
  assert.ok(said.some(({ attributes }) => attributes['task'] === 'l0 retention'));
});

test('CMP-05 files that wait for a level are counted, also those of a former life', async (t) => {
  const levels = [
    { level: 1, intervalMs: 50 },
    { level: 2, intervalMs: 100 },
  ];
  const first = await openBench(t, { levels });
  const { app, client, metrics, path, store, watchdog } = first;
  const backlog = (of: RecordedMetrics, level: number): number | undefined =>
    of.get('litestream_compaction_backlog', { db: path, level: String(level) });
  watchdog.check();
  assert.equal(backlog(metrics, 1), 0, 'it exists from the start');
  await waitFor(async () => (await listAll(client, 2)).length > 0, { what: 'a file of level 2' });
  client.level = 1;
  client.above = 'refused';
  const waitingFiles = async (): Promise<number> => {
    const [newest] = (await listAll(client, 2)).slice(-1);
    const behind = newest?.maxTxid ?? 0n;
    return (await listAll(client, 1)).filter(({ maxTxid }) => maxTxid > behind).length;
  };
  const more = async (): Promise<boolean> => {
    app.insert(1);
    await store.sync(path, { wait: true });
    return (await waitingFiles()) >= 4;
  };
  await waitFor(more, { what: 'files of level 1' });
  client.level = 0;
  for (let n = 0; n < 4; n++) {
    app.insert(1);
    await store.sync(path, { wait: true });
  }
  watchdog.check();
  assert.ok((backlog(metrics, 1) ?? 0) >= 4, String(backlog(metrics, 1)));
  const waiting = await waitingFiles();
  assert.equal(backlog(metrics, 2), waiting);
  await store.stop(path);
  await store.start(path);
  const known = (): boolean => {
    watchdog.check();
    return backlog(metrics, 2) === waiting;
  };
  await waitFor(known, { what: 'the same count after a start' });
});

function compaction(change: Partial<UpkeepObservation> = {}): UpkeepObservation {
  return {
    task: 'compaction',
    level: 2,
    intervalMs: 5 * MINUTE,
    waitingMs: 0,
    limitMs: 75 * MINUTE,
    files: 0,
    filesLimit: 160,
    ...change,
  };
}

interface Scene {
  readonly clock: FakeClock;
  readonly logger: RecordingLogger;
  readonly look: (upkeep: UpkeepObservation) => boolean;
}

function scene(judgesAge = true): Scene {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const watch = new UpkeepWatch({ clock, logger, metrics: new RecordedMetrics(), judgesAge });
  const look = (upkeep: UpkeepObservation): boolean =>
    watch.check({
      path: '/srv/app.db',
      status: 'replicating',
      txid: 5n as never,
      replicatedTxid: 5n as never,
      lastSyncAt: 0,
      monitorIntervalMs: 1000,
      openMs: 1000,
      uncapturedMs: 0,
      aheadMs: 0,
      pendingFiles: 0,
      consecutiveErrors: 0,
      error: undefined,
      replicas: [
        {
          name: 's3',
          type: 's3',
          location: 's3://bucket/app',
          syncIntervalMs: 1000,
          txid: undefined,
          lastSyncAt: 0,
          behindMs: 0,
          pendingFiles: 0,
          consecutiveErrors: 0,
          error: undefined,
          hasConflict: false,
          upkeep: [upkeep],
        },
      ],
    });
  return { clock, logger, look };
}

test('CMP-05 a long backlog is a warning once it outlasts an interval, repeated every ten minutes, and its end is said', async () => {
  const { clock, logger, look } = scene();
  look(compaction({ files: 5000 }));
  await clock.advance(6 * MINUTE - 1);
  look(compaction({ files: 5000 }));
  assert.deepEqual(logger.messages(), [], 'an outage that has just ended leaves one');
  for (let second = 0; second < 3600; second += 5) {
    await clock.advance(5000);
    look(compaction({ files: 5000 }));
  }
  assert.deepEqual(new Set(logger.messages('warn')), new Set([BACKLOG]));
  assert.equal(logger.messages().length, 6);
  const { db, files, level, threshold } = logger.records[0]?.attributes ?? {};
  assert.deepEqual(
    { db, files, level, threshold },
    { db: 'app.db', files: 5000, level: 2, threshold: 160 },
  );
  look(compaction({ files: 160 }));
  look(compaction({ files: 160 }));
  assert.deepEqual(logger.messages('info'), ['compaction backlog is gone']);
});

test('OPS-04 OPS-06 what stays overdue is said every ten minutes, and not at all with the watchdog off', async () => {
  for (const judgesAge of [true, false]) {
    const { clock, logger, look } = scene(judgesAge);
    assert.equal(look(compaction({ waitingMs: 75 * MINUTE })), false);
    for (let second = 0; second < 3600; second += 5) {
      assert.equal(look(compaction({ waitingMs: 76 * MINUTE })), judgesAge);
      await clock.advance(5000);
    }
    assert.equal(logger.messages('error').length, judgesAge ? 6 : 0);
  }
});
