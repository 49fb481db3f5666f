import type { Clock } from '../../lib/clock.ts';
import type { LevelOptions, StoreOptions } from '../options.ts';
import type { Replica } from '../replica/replica.ts';
import { type ReplicaView, SNAPSHOT_LEVEL } from './replica-view.ts';

/** A pass may be late by so many intervals of its own. */
const INTERVALS = 3;
/** And by this, for many databases that share a few slots. */
const GRACE_MS = 3_600_000;
/** More than this between two looks is no waiting: the process stood still. */
const LOOK_MS_MAX = 60_000;
/** A backlog of so many times what an interval brings is a long one. */
const BACKLOG_INTERVALS = 4;
/** Commits after quiet are uploaded one by one, up to this many. */
const BACKLOG_BURST = 120;

/** One kind of upkeep of one replica, as far as it is known without asking the replica. Milliseconds. */
export interface UpkeepObservation {
  readonly task: 'compaction' | 'snapshot' | 'retention' | 'l0 retention';
  /** The level that is written, or cleaned up. */
  readonly level: number;
  readonly intervalMs: number;
  /** How long there has been something to do without a pass that succeeded; 0 if there is nothing. */
  readonly waitingMs: number;
  /** Above this it is overdue. */
  readonly limitMs: number;
  /** Files of the level below that wait to be merged; 0 for other tasks than compaction. */
  readonly files: number;
  /** Above this there are too many. */
  readonly filesLimit: number;
}

/** One replica, and what there is to do for it. */
export interface UpkeepState {
  readonly options: StoreOptions;
  readonly replica: Replica;
  readonly view: ReplicaView;
  /** False: others say what is wrong with the replica. */
  readonly isReady: boolean;
  readonly hasWork: (level: number) => boolean;
  readonly areSnapshotsDue: () => boolean;
  readonly isLevel0Due: () => boolean;
}

type Task = UpkeepObservation['task'];
type Backlog = Pick<UpkeepObservation, 'files' | 'filesLimit'>;

const NO_BACKLOG: Backlog = { files: 0, filesLimit: 0 };

/** How long there has been work that nobody has done. The first look at work begins its time. Spec: failures OPS-04, CMP-05. */
export class UpkeepAge {
  readonly #clock: Clock;
  readonly #waits = new Map<string, { ms: number; seenAt: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A pass succeeded: what is left has only just begun to wait. */
  done(task: Task, level: number): void {
    this.#waits.delete(`${task} ${level}`);
  }

  /** What there is to do for a replica, and for how long. */
  observe(state: UpkeepState): readonly UpkeepObservation[] {
    const { isReady, options, replica } = state;
    const { l0RetentionCheckIntervalMs, l0RetentionMs, snapshotIntervalMs } = options;
    const found: UpkeepObservation[] = [];
    const add = (
      task: Task,
      { intervalMs, level }: LevelOptions,
      hasWork: boolean,
      backlog: Backlog = NO_BACKLOG,
    ): void => {
      const waitingMs = this.#waitingMs(`${task} ${level}`, isReady && hasWork);
      const limitMs = INTERVALS * intervalMs + GRACE_MS;
      found.push({ task, level, intervalMs, waitingMs, limitMs, ...backlog });
    };
    for (const level of options.levels) {
      add('compaction', level, state.hasWork(level.level), backlogOf(level.level, state));
    }
    if (snapshotIntervalMs > 0) {
      const level = {
        level: SNAPSHOT_LEVEL,
        intervalMs: replica.options.snapshotIntervalMs ?? snapshotIntervalMs,
      };
      add('snapshot', level, state.hasWork(SNAPSHOT_LEVEL));
      add('retention', level, state.areSnapshotsDue());
    }
    if (l0RetentionMs > 0) {
      const level = { level: 0, intervalMs: l0RetentionCheckIntervalMs };
      add('l0 retention', level, state.isLevel0Due());
    }
    return found;
  }

  #waitingMs(key: string, hasWork: boolean): number {
    if (!hasWork) {
      this.#waits.delete(key);
      return 0;
    }
    const now = this.#clock.monotonic();
    const wait = this.#waits.get(key) ?? { ms: 0, seenAt: now };
    wait.ms += Math.min(now - wait.seenAt, LOOK_MS_MAX);
    wait.seenAt = now;
    this.#waits.set(key, wait);
    return wait.ms;
  }
}

/** Files that wait for a level, and how many are too many: several times what an interval brings. */
function backlogOf(level: number, { options, replica, view }: UpkeepState): Backlog {
  const at = options.levels.findIndex((known) => known.level === level);
  const intervalMs = options.levels[at]?.intervalMs ?? 0;
  const belowMs = options.levels[at - 1]?.intervalMs ?? replica.options.syncIntervalMs;
  const perInterval = Math.ceil(intervalMs / Math.max(1, belowMs));
  return {
    files: view.waitingFor(level),
    filesLimit: BACKLOG_INTERVALS * perInterval + BACKLOG_BURST,
  };
}
