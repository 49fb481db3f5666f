import { basename } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { DurationValue, type Logger, type Metrics } from '../../telemetry/index.ts';
import type { DatabaseObservation, ReplicaObservation } from './observation.ts';
import type { UpkeepObservation } from './upkeep-age.ts';

/** What stays wrong is said again after this long. */
const REPEAT_MS = 10 * 60_000;
/** A backlog may be long for this much more than an interval: an outage that is over leaves one. */
const BACKLOG_GRACE_MS = 60_000;

const OVERDUE_HINT =
  'commits are still being uploaded, but restores become slow and old files stay; see the messages above, and look for a request that never ends';
const BACKLOG_HINT =
  'restores read each of these files; check that the store lists every file, and the messages above';

export interface UpkeepWatchInit {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** False: only backlogs are looked at. */
  readonly judgesAge: boolean;
}

interface Alarm {
  readonly since: number;
  saidAt: number | undefined;
}

/** Where one task of one replica is looked at. */
interface Place {
  readonly path: string;
  readonly key: string;
  /** The replica's name if there are several. */
  readonly replica: string | undefined;
  readonly upkeep: UpkeepObservation;
}

/**
 * Makes it loud when compaction, snapshots or retention of a replica do not happen, or do not keep up.
 *
 * Spec: failures OPS-04, CMP-05.
 */
export class UpkeepWatch {
  readonly #init: UpkeepWatchInit;
  /** Of each database, by what is wrong. */
  readonly #alarms = new Map<string, Map<string, Alarm>>();

  constructor(init: UpkeepWatchInit) {
    this.#init = init;
  }

  /** Looks at one database. True if something has been due for too long. */
  check({ path, replicas }: DatabaseObservation): boolean {
    let overdue = false;
    const backlog = new Map<number, number>();
    for (const [at, replica] of replicas.entries()) {
      for (const upkeep of replica.upkeep ?? []) {
        const place = {
          path,
          key: `${at} ${upkeep.task} ${upkeep.level}`,
          replica: replicas.length > 1 ? replica.name : undefined,
          upkeep,
        };
        overdue = this.#checkAge(place, replica) || overdue;
        this.#checkBacklog(place);
        if (upkeep.task === 'compaction') {
          backlog.set(upkeep.level, Math.max(backlog.get(upkeep.level) ?? 0, upkeep.files));
        }
      }
    }
    for (const [level, files] of backlog) {
      const labels = { db: path, level: String(level) };
      this.#init.metrics.set('litestream_compaction_backlog', labels, files);
    }
    return overdue;
  }

  /** Forgets a database that is stopped. */
  forget(path: string): void {
    this.#alarms.delete(path);
  }

  /** Forgets databases that are not there any more. */
  forgetOthers(paths: ReadonlySet<string>): void {
    for (const path of this.#alarms.keys()) if (!paths.has(path)) this.#alarms.delete(path);
  }

  #checkAge(place: Place, { error }: ReplicaObservation): boolean {
    const { path, replica, upkeep } = place;
    const { level, limitMs, task, waitingMs } = upkeep;
    const isLate = this.#init.judgesAge && waitingMs > limitMs;
    const about = { db: basename(path), replica, task, level };
    const alarm = this.#judge(place, 'age', isLate ? 0 : undefined);
    if (alarm === 'over') this.#init.logger.log('info', 'replica upkeep has caught up', about);
    if (alarm === 'say') {
      this.#init.logger.log('error', 'replica upkeep is overdue', {
        ...about,
        age: seconds(waitingMs),
        threshold: seconds(limitMs),
        error,
        hint: OVERDUE_HINT,
      });
    }
    return isLate;
  }

  #checkBacklog(place: Place): void {
    const { path, replica, upkeep } = place;
    const { files, filesLimit, intervalMs, level } = upkeep;
    const about = { db: basename(path), replica, level };
    const afterMs = intervalMs + BACKLOG_GRACE_MS;
    const alarm = this.#judge(place, 'files', files > filesLimit ? afterMs : undefined);
    if (alarm === 'over') this.#init.logger.log('info', 'compaction backlog is gone', about);
    if (alarm !== 'say') return;
    this.#init.logger.log('warn', 'compaction backlog exceeds threshold', {
      ...about,
      files,
      threshold: filesLimit,
      hint: BACKLOG_HINT,
    });
  }

  /** What is to be said now about something that is wrong, and may be for `afterMs`; undefined = it is not. */
  #judge(
    { key, path }: Place,
    kind: string,
    afterMs: number | undefined,
  ): 'say' | 'over' | undefined {
    const now = this.#init.clock.monotonic();
    const alarms = this.#alarms.get(path) ?? new Map<string, Alarm>();
    const name = `${key} ${kind}`;
    const known = alarms.get(name);
    if (afterMs === undefined) {
      alarms.delete(name);
      return known?.saidAt === undefined ? undefined : 'over';
    }
    const alarm: Alarm = known ?? { since: now, saidAt: undefined };
    this.#alarms.set(path, alarms.set(name, alarm));
    if (now - alarm.since < afterMs) return undefined;
    if (alarm.saidAt !== undefined && now - alarm.saidAt < REPEAT_MS) return undefined;
    alarm.saidAt = now;
    return 'say';
  }
}

function seconds(ms: number): DurationValue {
  return new DurationValue(Math.round(ms / 1000) * 1000);
}
