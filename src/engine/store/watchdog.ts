import { basename } from 'node:path';
import type { Txid } from '../../formats/ltx/index.ts';
import type { Clock, TimerHandle } from '../../lib/clock.ts';
import {
  DurationValue,
  type LogAttributes,
  type Logger,
  type Metrics,
} from '../../telemetry/index.ts';
import type { DatabaseObservation, ReplicaObservation } from './observation.ts';
import { UpkeepWatch } from './upkeep-watch.ts';

/** The default threshold is so many sync intervals of the replica, and not less than a minute. */
const INTERVALS = 10;
const THRESHOLD_MS_MIN = 60_000;
/** A database that stays behind is named again after this long. */
const REPEAT_MS = 10 * 60_000;
/** A lag alert is repeated after this long. */
const ALERT_REPEAT_MS = 30_000;
/** Everything is looked at as often as this. */
const TICK_MS = 1000;
/** As often as this if nobody asked for a second's precision. */
const TICK_MS_MAX = 5000;
/** Less often when a look takes long because there are many databases: a thousandth of the time is enough. */
const LOOK_SHARE = 1000;
const SLOW_TICK_MS_MAX = 30_000;

const REPLICA_HINT =
  'nothing newer can be restored; check that the store is reachable, its credentials and its free space';
const CAPTURE_HINT =
  'committed changes are not being read; check the messages above, the free space and the permissions beside the database';

export interface WatchdogInit {
  /** All databases, open or not. Must not wait. */
  readonly observe: () => readonly DatabaseObservation[];
  readonly clock: Clock;
  /** With the store's attributes. */
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Undefined = depends on each replica; 0 = off. */
  readonly thresholdMs?: number | undefined;
  /** Lag above which a database is warned about; 0 = off. */
  readonly lagAlertMs?: ((path: string) => number) | undefined;
}

/** `starting`: nothing was captured yet. */
export type HealthStatus = 'ok' | 'unhealthy' | 'stopped' | 'starting';

/** One database, in short. */
export interface DatabaseHealth {
  readonly path: string;
  readonly status: HealthStatus;
  readonly txid: Txid;
  readonly replicatedTxid: Txid;
  /** Age of the oldest local file that is not in every replica; 0 if there is none. */
  readonly lagMs: number;
}

/** Something that has been wrong for a while, and when it was last said. */
interface Alarm {
  readonly since: number;
  saidAt: number;
}

/** What is behind for too long. */
interface Late {
  /** Undefined = the capture. */
  readonly replica: ReplicaObservation | undefined;
  /** The replica's name if there are several. */
  readonly name: string | undefined;
  readonly ms: number;
  readonly thresholdMs: number;
  readonly error: string | undefined;
}

/**
 * Makes silence loud: a database whose source stays ahead of a replica becomes an ERROR line, a metric and an unhealthy status, and so
 * does one whose commits are not captured, and one whose compaction, snapshots or retention do not happen. A replica that verification
 * found to be damaged makes its database unhealthy, too.
 *
 * Spec: design B10; interfaces 8.2, 8.3; cli 23.4; failures OPS-04.
 */
export class Watchdog {
  readonly #init: WatchdogInit;
  readonly #unhealthy = new Map<string, Alarm>();
  readonly #lagging = new Map<string, Alarm>();
  readonly #upkeep: UpkeepWatch;
  #timer: TimerHandle | undefined;
  #running = false;

  constructor(init: WatchdogInit) {
    this.#init = init;
    this.#upkeep = new UpkeepWatch({ ...init, judgesAge: init.thresholdMs !== 0 });
  }

  /** Looks at everything now, and then again and again. */
  start(): void {
    this.#running = true;
    this.#look();
  }

  stop(): void {
    this.#running = false;
    this.#timer?.cancel();
  }

  /** Looks at everything now. */
  check(): readonly DatabaseHealth[] {
    const seen = new Set<string>();
    const healths = this.#init.observe().map((observation) => {
      seen.add(observation.path);
      return this.#checkOne(observation);
    });
    for (const alarms of [this.#unhealthy, this.#lagging]) {
      for (const path of alarms.keys()) if (!seen.has(path)) alarms.delete(path);
    }
    this.#upkeep.forgetOthers(seen);
    return healths;
  }

  /** Looks now, and again later. */
  #look(): void {
    const { clock } = this.#init;
    const began = clock.monotonic();
    this.check();
    const delayMs = this.#tickMs(clock.monotonic() - began);
    this.#timer = clock.timer(delayMs, () => {
      if (this.#running) this.#look();
    });
    this.#timer.unref?.();
  }

  /** Often enough for the shortest time that somebody waits for. */
  #tickMs(lookMs: number): number {
    const { lagAlertMs, thresholdMs = THRESHOLD_MS_MIN } = this.#init;
    if (lagAlertMs !== undefined) return TICK_MS;
    const wantedMs = thresholdMs === 0 ? Infinity : thresholdMs / 4;
    const cheapMs = Math.min(SLOW_TICK_MS_MAX, Math.max(TICK_MS_MAX, lookMs * LOOK_SHARE));
    return Math.max(TICK_MS, Math.min(cheapMs, wantedMs));
  }

  #checkOne(observation: DatabaseObservation): DatabaseHealth {
    const { path, replicatedTxid, replicas, status, txid } = observation;
    const { metrics } = this.#init;
    const lagMs = Math.max(0, ...replicas.map(({ behindMs }) => behindMs));
    const late = status === 'stopped' ? [] : this.#lateOnes(observation);
    if (status === 'stopped') {
      // Whoever stopped it knows.
      this.#unhealthy.delete(path);
      this.#lagging.delete(path);
      this.#upkeep.forget(path);
    }
    this.#judge(path, late);
    // Verification has said what is wrong, and says it again as long as it is.
    const damaged = status !== 'stopped' && replicas.some(({ damage }) => damage !== undefined);
    const overdue = status !== 'stopped' && this.#upkeep.check(observation);
    const unhealthy = late.length > 0 || damaged || overdue;
    this.#checkLag(path, lagMs, observation.pendingFiles);
    metrics.set('litestream_replica_lag_seconds', { db: path }, lagMs / 1000);
    metrics.set('litestream_replica_txid', { db: path }, Number(replicatedTxid));
    metrics.set('litestream_unhealthy', { db: path }, unhealthy ? 1 : 0);
    return { path, status: statusOf(observation, unhealthy), txid, replicatedTxid, lagMs };
  }

  #lateOnes({ error, monitorIntervalMs, replicas, uncapturedMs }: DatabaseObservation): Late[] {
    const late: Late[] = [];
    const shortest = Math.min(...replicas.map(({ syncIntervalMs }) => syncIntervalMs));
    const found = [
      {
        replica: undefined,
        name: undefined,
        ms: uncapturedMs,
        intervalMs: Math.max(shortest, monitorIntervalMs),
        error,
      },
      ...replicas.map((replica) => ({
        replica,
        name: replicas.length > 1 ? replica.name : undefined,
        ms: replica.behindMs,
        intervalMs: replica.syncIntervalMs,
        error: replica.error,
      })),
    ];
    for (const { intervalMs, ...rest } of found) {
      const thresholdMs = this.#thresholdMs(intervalMs);
      if (thresholdMs > 0 && rest.ms > thresholdMs) late.push({ ...rest, thresholdMs });
    }
    return late.toSorted((a, b) => b.ms - a.ms);
  }

  #thresholdMs(intervalMs: number): number {
    const byDefault = Math.max(INTERVALS * intervalMs, THRESHOLD_MS_MIN);
    return this.#init.thresholdMs ?? (Number.isFinite(byDefault) ? byDefault : THRESHOLD_MS_MIN);
  }

  #judge(path: string, late: readonly Late[]): void {
    const { clock, logger } = this.#init;
    const now = clock.monotonic();
    const known = this.#unhealthy.get(path);
    const [worst] = late;
    if (worst === undefined) {
      if (known === undefined) return;
      this.#unhealthy.delete(path);
      logger.log('info', 'replica is keeping up again', {
        db: basename(path),
        duration: duration(now - known.since),
      });
      return;
    }
    if (known !== undefined && now - known.saidAt < REPEAT_MS) return;
    if (known === undefined) this.#unhealthy.set(path, { since: now, saidAt: now });
    else known.saidAt = now;
    logger.log('error', 'replica is not keeping up', describe(path, worst));
  }

  /** Spec: cli 23.4. */
  #checkLag(path: string, lagMs: number, pending: number): void {
    const { clock, lagAlertMs, logger } = this.#init;
    const thresholdMs = lagAlertMs?.(path) ?? 0;
    const now = clock.monotonic();
    const known = this.#lagging.get(path);
    const db = basename(path);
    if (thresholdMs <= 0 || lagMs <= thresholdMs) {
      if (known === undefined) return;
      this.#lagging.delete(path);
      const attributes = { db, duration: duration(now - known.since) };
      logger.log('info', 'replication lag recovered', attributes);
      return;
    }
    if (known !== undefined && now - known.saidAt < ALERT_REPEAT_MS) return;
    if (known === undefined) this.#lagging.set(path, { since: now, saidAt: now });
    else known.saidAt = now;
    logger.log('warn', 'replication lag exceeds threshold', {
      db,
      lag: duration(lagMs),
      threshold: duration(thresholdMs),
      pending,
    });
  }
}

function statusOf({ status, txid }: DatabaseObservation, unhealthy: boolean): HealthStatus {
  if (status === 'stopped') return 'stopped';
  if (unhealthy) return 'unhealthy';
  return txid === 0n ? 'starting' : 'ok';
}

function describe(path: string, { error, ms, name, replica, thresholdMs }: Late): LogAttributes {
  return {
    db: basename(path),
    replica: name,
    lag: duration(ms),
    threshold: duration(thresholdMs),
    error,
    hint: replica === undefined ? CAPTURE_HINT : REPLICA_HINT,
  };
}

/** Tenths of a second are precise enough. */
function duration(ms: number): DurationValue {
  return new DurationValue(Math.round(ms / 100) * 100);
}
