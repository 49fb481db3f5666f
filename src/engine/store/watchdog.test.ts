import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { RecordingLogger } from '../../../test/support/engine.ts';
import { toTxid } from '../../formats/ltx/index.ts';
import { formatDuration } from '../../lib/go-duration.ts';
import { DurationValue } from '../../telemetry/index.ts';
import { FakeClock, RecordedMetrics } from '../../testing/index.ts';
import type { DatabaseObservation, ReplicaObservation } from './observation.ts';
import { Watchdog, type WatchdogInit } from './watchdog.ts';

function replica(own: Partial<ReplicaObservation> = {}): ReplicaObservation {
  return {
    name: 's3',
    type: 's3',
    location: 's3://bucket/app',
    syncIntervalMs: 1000,
    txid: toTxid(5n),
    lastSyncAt: 0,
    behindMs: 0,
    pendingFiles: 0,
    consecutiveErrors: 0,
    error: undefined,
    hasConflict: false,
    ...own,
  };
}

function database(own: Partial<DatabaseObservation> = {}): DatabaseObservation {
  return {
    path: '/srv/app.db',
    status: 'replicating',
    txid: toTxid(5n),
    replicatedTxid: toTxid(5n),
    lastSyncAt: 0,
    monitorIntervalMs: 1000,
    openMs: 1000,
    uncapturedMs: 0,
    aheadMs: 0,
    pendingFiles: 0,
    consecutiveErrors: 0,
    error: undefined,
    replicas: [replica()],
    ...own,
  };
}

describe('the watchdog', () => {
  let clock: FakeClock;
  let metrics: RecordedMetrics;
  let logger: RecordingLogger;
  let databases: DatabaseObservation[];

  beforeEach(() => {
    clock = new FakeClock();
    metrics = new RecordedMetrics();
    logger = new RecordingLogger();
    databases = [database()];
  });

  function create(own: Partial<WatchdogInit> = {}): Watchdog {
    return new Watchdog({ observe: () => databases, clock, logger, metrics, ...own });
  }

  /** Level, message and attributes of each line so far, as text. */
  function lines(): string[] {
    return logger.records.map(({ level, message, attributes }) => {
      const shown = Object.entries(attributes)
        .filter(([key, value]) => key !== 'hint' && value !== undefined)
        .map(([key, value]) => {
          const text =
            value instanceof DurationValue
              ? formatDuration(value.ms)
              : JSON.stringify(value).replaceAll('"', '');
          return ` ${key}=${text}`;
        });
      return `${level} ${message}${shown.join('')}`;
    });
  }

  function hint(): string {
    return JSON.stringify(logger.records[0]?.attributes['hint']);
  }

  it('says nothing while replicas keep up, and exports zeros from the start', () => {
    const [health] = create().check();
    assert.deepEqual(health, {
      path: '/srv/app.db',
      status: 'ok',
      txid: 5n,
      replicatedTxid: 5n,
      lagMs: 0,
    });
    assert.deepEqual(metrics.values, {
      'litestream_replica_lag_seconds{db="/srv/app.db"}': 0,
      'litestream_replica_txid{db="/srv/app.db"}': 5,
      'litestream_unhealthy{db="/srv/app.db"}': 0,
    });
    assert.deepEqual(lines(), []);
  });

  it('OPS-04 makes a replica that stays behind loud, and says when it is over', async () => {
    const watchdog = create({ thresholdMs: 2000 });
    watchdog.start();
    databases = [database({ replicas: [replica({ behindMs: 1900, error: 'refused' })] })];
    await clock.advance(1000);
    assert.deepEqual(lines(), []);
    databases = [database({ replicas: [replica({ behindMs: 2900, error: 'refused' })] })];
    await clock.advance(1000);
    assert.deepEqual(lines(), [
      'error replica is not keeping up db=app.db lag=2.9s threshold=2s error=refused',
    ]);
    assert.match(hint(), /check that the store/);
    assert.equal(metrics.get('litestream_unhealthy', { db: '/srv/app.db' }), 1);
    assert.equal(metrics.get('litestream_replica_lag_seconds', { db: '/srv/app.db' }), 2.9);
    assert.equal(watchdog.check()[0]?.status, 'unhealthy');
    await clock.advance(60_000);
    databases = [database()];
    await clock.advance(1000);
    assert.deepEqual(lines().slice(1), [
      'info replica is keeping up again db=app.db duration=1m1s',
    ]);
    assert.equal(metrics.get('litestream_unhealthy', { db: '/srv/app.db' }), 0);
    watchdog.stop();
    assert.equal(clock.pending, 0);
  });

  it('OPS-04 OPS-06 repeats what stays wrong every ten minutes, no more', async () => {
    const watchdog = create();
    databases = [database({ replicas: [replica({ behindMs: 3_600_000 })] })];
    watchdog.start();
    await clock.advance(3_600_000);
    assert.ok(lines().length >= 6 && lines().length <= 7, `${lines().length} lines`);
    watchdog.stop();
  });

  it('OPS-04 notices commits that nobody captures', () => {
    databases = [database({ uncapturedMs: 61_000, error: 'disk I/O error' })];
    assert.equal(create().check()[0]?.status, 'unhealthy');
    assert.deepEqual(lines(), [
      'error replica is not keeping up db=app.db lag=1m1s threshold=1m0s error=disk I/O error',
    ]);
    assert.match(hint(), /not being read/);
  });

  for (const [syncIntervalMs, behindMs, status] of [
    [1000, 59_000, 'ok'],
    [1000, 61_000, 'unhealthy'],
    [30_000, 299_000, 'ok'],
    [30_000, 301_000, 'unhealthy'],
  ] as const) {
    it(`takes ten sync intervals by default, a minute at least: ${syncIntervalMs} ${behindMs}`, () => {
      databases = [database({ replicas: [replica({ syncIntervalMs, behindMs })] })];
      assert.equal(create().check()[0]?.status, status);
    });
  }

  it('judges each replica by its own interval and names the one that is late', () => {
    const slow = replica({ name: 'archive', syncIntervalMs: 60_000, behindMs: 120_000 });
    databases = [database({ replicas: [slow, replica({ name: 'main', behindMs: 90_000 })] })];
    assert.equal(create().check()[0]?.status, 'unhealthy');
    assert.deepEqual(lines(), [
      'error replica is not keeping up db=app.db replica=main lag=1m30s threshold=1m0s',
    ]);
  });

  it('gives a capture that writes rarely its time', () => {
    databases = [database({ monitorIntervalMs: 60_000, uncapturedMs: 500_000 })];
    assert.equal(create().check()[0]?.status, 'ok');
    databases = [database({ monitorIntervalMs: 60_000, uncapturedMs: 601_000 })];
    assert.equal(create().check()[0]?.status, 'unhealthy');
  });

  it('can be turned off', () => {
    databases = [database({ replicas: [replica({ behindMs: 1e9 })] })];
    assert.equal(create({ thresholdMs: 0 }).check()[0]?.status, 'ok');
    assert.deepEqual(lines(), []);
  });

  it('calls a database without transactions starting, until it is late', () => {
    databases = [database({ txid: toTxid(0n), replicas: [replica({ txid: undefined })] })];
    const watchdog = create();
    assert.equal(watchdog.check()[0]?.status, 'starting');
    databases = [database({ txid: toTxid(0n), uncapturedMs: 61_000 })];
    assert.equal(watchdog.check()[0]?.status, 'unhealthy');
  });

  it('leaves a stopped database alone, also one that was late before', () => {
    const watchdog = create();
    databases = [database({ replicas: [replica({ behindMs: 100_000 })] })];
    watchdog.check();
    databases = [database({ status: 'stopped', replicas: [] })];
    assert.equal(watchdog.check()[0]?.status, 'stopped');
    assert.equal(lines().length, 1);
    assert.equal(metrics.get('litestream_unhealthy', { db: '/srv/app.db' }), 0);
  });

  it('forgets a database that is gone', () => {
    const watchdog = create();
    databases = [database({ replicas: [replica({ behindMs: 100_000 })] })];
    watchdog.check();
    databases = [];
    assert.deepEqual(watchdog.check(), []);
    databases = [database({ replicas: [replica({ behindMs: 100_000 })] })];
    watchdog.check();
    assert.equal(lines().length, 2);
  });

  it('warns about lag above the alert at once, then twice a minute, and tells the end', async () => {
    const watchdog = create({ lagAlertMs: () => 5000 });
    watchdog.start();
    databases = [database({ pendingFiles: 3, replicas: [replica({ behindMs: 5100 })] })];
    await clock.advance(1000);
    assert.deepEqual(lines(), [
      'warn replication lag exceeds threshold db=app.db lag=5.1s threshold=5s pending=3',
    ]);
    await clock.advance(59_000);
    assert.equal(lines().length, 2);
    databases = [database()];
    await clock.advance(1000);
    assert.deepEqual(lines().slice(2), ['info replication lag recovered db=app.db duration=1m0s']);
    watchdog.stop();
  });

  it('warns about lag only where the database asks for it', () => {
    databases = [
      database({ replicas: [replica({ behindMs: 5000 })] }),
      database({ path: '/srv/b.db', replicas: [replica({ behindMs: 5000 })] }),
    ];
    create({ lagAlertMs: (path) => (path === '/srv/b.db' ? 1000 : 0) }).check();
    assert.deepEqual(lines(), [
      'warn replication lag exceeds threshold db=b.db lag=5s threshold=1s pending=0',
    ]);
  });
});
