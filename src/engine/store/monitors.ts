import { nextBoundary, previousBoundary } from '../../compaction/index.ts';
import { type Clock, isAborted, sleep } from '../../lib/clock.ts';
import { DurationValue, type Logger } from '../../telemetry/index.ts';
import type { StoreOptions } from '../options.ts';
import { firstSyncs } from './first-syncs.ts';
import type { PassResult, ReplicaMaintenance } from './maintenance.ts';
import { SNAPSHOT_LEVEL } from './replica-view.ts';
import type { Slots } from './slots.ts';

/** A replica that is not ready, far behind, or failed, is tried again after this long, later ever less often. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 60_000;
/** The levels retry this much after the snapshot: a restore begins with it. */
const BEHIND_SNAPSHOT_MS = 50;
/** Then it is said that a database does not become ready. */
const READY_TIMEOUT_MS = 30_000;
/** The wall clock is looked at this often at least: it may jump. */
const SLEEP_MS_MAX = 60_000;
/** Replicas that one monitor works on at the same time. */
const WALKERS = 4;

const TIMEOUT_HINT =
  'database may have corrupted local state or blocked transactions; try removing -litestream directory and restarting';

export interface MonitorInit {
  readonly options: StoreOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  /** All replicas of all databases at the time of the call. */
  readonly replicas: () => readonly ReplicaMaintenance[];
  /** Bounds work over all monitors. */
  readonly slots: Slots;
  readonly signal: AbortSignal;
}

/** A replica that wants another try before the next boundary. */
interface Retry {
  readonly since: number;
  due: number;
  delayMs: number;
  readonly reason: PassResult;
}

/** Runs one monitor per level, one for snapshots and one for level-0 retention, until the signal fires. Spec: replication 17.3. */
export async function runMonitors(init: MonitorInit): Promise<void> {
  const { l0RetentionMs, levels, snapshotIntervalMs } = init.options;
  const wanted = [
    ...levels,
    ...(snapshotIntervalMs > 0 ? [{ level: SNAPSHOT_LEVEL, intervalMs: snapshotIntervalMs }] : []),
  ];
  for (const { intervalMs, level } of wanted) {
    const interval = new DurationValue(intervalMs);
    init.logger.log('info', 'starting compaction monitor', { level, interval });
  }
  await firstSyncs(init.replicas, init.clock, init.signal);
  // Where both are due the snapshot comes first: a restore begins with it.
  const [snapshots] = wanted
    .slice(levels.length)
    .map(({ intervalMs, level }) => new LevelMonitor(init, level, intervalMs));
  const monitors = levels.map(
    ({ intervalMs, level }) => new LevelMonitor(init, level, intervalMs, snapshots),
  );
  const loops = [...(snapshots === undefined ? [] : [snapshots]), ...monitors].map((monitor) =>
    monitor.run(),
  );
  if (l0RetentionMs > 0) loops.push(runLevel0Retention(init));
  await Promise.all(loops);
}

async function runLevel0Retention(init: MonitorInit): Promise<void> {
  const { clock, logger, options, signal } = init;
  const intervalMs = Math.max(1, options.l0RetentionCheckIntervalMs);
  logger.log('info', 'starting L0 retention monitor', {
    interval: new DurationValue(intervalMs),
    retention: new DurationValue(options.l0RetentionMs),
  });
  while (!signal.aborted) {
    const due = init.replicas().filter((replica) => replica.retention.isLevel0Due());
    await forEach(init, due, (replica) => replica.enforceLevel0(signal));
    await pause(clock, intervalMs, signal);
  }
}

/** One level's monitor; it walks all databases. Replicas may have snapshot intervals of their own (config 11.3). */
class LevelMonitor {
  readonly #init: MonitorInit;
  readonly #level: number;
  readonly #intervalMs: number;
  /** The monitor that goes first. */
  readonly #first: LevelMonitor | undefined;
  /** When each interval's replicas were last walked. */
  readonly #walked = new Map<number, number>();
  readonly #retries = new Map<ReplicaMaintenance, Retry>();
  /** What is being done for which replica; settles when it has been noted. */
  readonly #passing = new Map<ReplicaMaintenance, Promise<void>>();
  #saidTimeout = false;

  constructor(init: MonitorInit, level: number, intervalMs: number, first?: LevelMonitor) {
    this.#init = init;
    this.#level = level;
    this.#intervalMs = intervalMs;
    this.#first = first;
  }

  /** True if this monitor found the replica not to be ready, and is about to look again. */
  awaits(replica: ReplicaMaintenance): boolean {
    return this.#retries.get(replica)?.reason === 'not-ready';
  }

  /** Resolves when what this monitor is doing for the replica, if anything, has ended in whatever way. */
  async settled(replica: ReplicaMaintenance): Promise<void> {
    if (!this.awaits(replica)) return;
    await this.#passing.get(replica)?.catch(() => undefined);
  }

  async run(): Promise<void> {
    const { clock, signal } = this.#init;
    while (!signal.aborted) {
      await this.#walk(this.#pastBoundary());
      if (isAborted(signal)) return;
      const left = Math.min(this.#untilBoundary(), this.#untilRetry(), SLEEP_MS_MAX);
      await pause(clock, Math.max(1, left), signal);
      await this.#walk(this.#dueRetries());
      this.#checkTimeout();
    }
  }

  #intervalOf({ replica }: ReplicaMaintenance): number {
    if (this.#level !== SNAPSHOT_LEVEL) return this.#intervalMs;
    return replica.options.snapshotIntervalMs ?? this.#intervalMs;
  }

  /** The replicas whose interval has passed a boundary since they were last walked. */
  #pastBoundary(): ReplicaMaintenance[] {
    const now = this.#init.clock.now();
    const replicas = this.#init.replicas();
    const intervals = new Set([
      this.#intervalMs,
      ...replicas.map((replica) => this.#intervalOf(replica)),
    ]);
    for (const known of this.#walked.keys()) if (!intervals.has(known)) this.#walked.delete(known);
    const due = new Set<number>();
    for (const intervalMs of intervals) {
      const last = this.#walked.get(intervalMs);
      // A clock that is set back must not make the wait longer than an interval.
      const isWaiting =
        last !== undefined && now < nextBoundary(last, intervalMs) && now >= last - intervalMs;
      if (isWaiting) continue;
      due.add(intervalMs);
      this.#walked.set(intervalMs, now);
    }
    // Who is tried again within a moment anyway keeps the order of the levels.
    const soon = this.#init.clock.monotonic() + RETRY_MS;
    return replicas.filter((replica) => {
      const retryAt = this.#retries.get(replica)?.due ?? Infinity;
      return due.has(this.#intervalOf(replica)) && retryAt > soon;
    });
  }

  #untilBoundary(): number {
    const now = this.#init.clock.now();
    let left = Infinity;
    for (const [intervalMs, last] of this.#walked) {
      left = Math.min(left, nextBoundary(last, intervalMs) - now);
    }
    return left;
  }

  #untilRetry(): number {
    const now = this.#init.clock.monotonic();
    let left = Infinity;
    for (const { due } of this.#retries.values()) left = Math.min(left, due - now);
    return left;
  }

  #dueRetries(): ReplicaMaintenance[] {
    const now = this.#init.clock.monotonic();
    for (const replica of this.#retries.keys()) {
      if (replica.isClosed) this.#retries.delete(replica);
    }
    const due = [...this.#retries].filter(([, retry]) => retry.due <= now);
    return due.map(([replica]) => replica);
  }

  async #walk(replicas: readonly ReplicaMaintenance[]): Promise<void> {
    const wanted = replicas.filter((replica) => {
      if (this.#isWanted(replica)) return true;
      // Whoever made what was wanted has made the next try needless: one that stays due would be looked at without a pause.
      this.#retries.delete(replica);
      return false;
    });
    await forEach(this.#init, wanted, async (replica) => {
      const passing = this.#passAndNote(replica);
      this.#passing.set(replica, passing);
      try {
        await passing;
      } finally {
        this.#passing.delete(replica);
      }
    });
  }

  /** An idle database takes no slot. */
  #isWanted(replica: ReplicaMaintenance): boolean {
    if (replica.hasWork(this.#level)) return true;
    return this.#level === SNAPSHOT_LEVEL && replica.retention.areSnapshotsDue();
  }

  async #passAndNote(replica: ReplicaMaintenance): Promise<void> {
    this.#note(replica, await this.#pass(replica));
  }

  async #pass(replica: ReplicaMaintenance): Promise<PassResult> {
    const { clock, signal } = this.#init;
    // A first snapshot that is being made takes a moment; to come back later would cost a second.
    await this.#first?.settled(replica);
    if (this.#first?.awaits(replica) === true) return 'not-ready';
    if (this.#level !== SNAPSHOT_LEVEL) return replica.compact(this.#level, signal);
    const intervalMs = this.#intervalOf(replica);
    const result = await replica.scheduledSnapshot((newest) => {
      const now = clock.now();
      return newest.createdAt > previousBoundary(now, intervalMs) && newest.createdAt <= now;
    }, signal);
    await replica.scheduledRetention(signal);
    return result;
  }

  #note(replica: ReplicaMaintenance, result: PassResult): void {
    const known = this.#retries.get(replica);
    if (result === 'done' || replica.isClosed) {
      this.#retries.delete(replica);
      return;
    }
    const now = this.#init.clock.monotonic();
    if (result === 'not-ready' && this.#retries.size === 0) {
      const attributes = { level: this.#level };
      this.#init.logger.log('debug', 'scheduling retry for unready dbs', attributes);
    }
    const goesOn = known?.reason === result ? known : undefined;
    const since = goesOn?.since ?? now;
    const first =
      result === 'failed' ? Math.min(RETRY_MS_MAX, this.#intervalOf(replica)) : RETRY_MS;
    const slower = result === 'failed' || now - since >= READY_TIMEOUT_MS;
    const last = goesOn?.delayMs ?? first / 2;
    const delayMs = slower ? Math.min(RETRY_MS_MAX, last * 2) : first;
    const due = now + delayMs + (this.#level === SNAPSHOT_LEVEL ? 0 : BEHIND_SNAPSHOT_MS);
    this.#retries.set(replica, { since, due, delayMs, reason: result });
  }

  /** Said once per level. */
  #checkTimeout(): void {
    if (this.#saidTimeout) return;
    const { clock, logger } = this.#init;
    const now = clock.monotonic();
    const late = [...this.#retries].filter(
      ([replica, { reason, since }]) =>
        reason === 'not-ready' && !replica.isDatabaseReady && now - since >= READY_TIMEOUT_MS,
    );
    if (late.length === 0) return;
    this.#saidTimeout = true;
    logger.log('warn', 'timeout waiting for db initialization', {
      level: this.#level,
      dbs: late.map(([replica]) => replica.database.options.path),
      timeout: new DurationValue(READY_TIMEOUT_MS),
      hint: TIMEOUT_HINT,
    });
  }
}

/** A few at a time; within the bound that holds for everything. */
async function forEach(
  { signal, slots }: MonitorInit,
  replicas: readonly ReplicaMaintenance[],
  body: (replica: ReplicaMaintenance) => Promise<void>,
): Promise<void> {
  const queue = replicas.values();
  const work = async (): Promise<void> => {
    for (const replica of queue) {
      if (signal.aborted) return;
      await slots.run(() => body(replica));
    }
  };
  await Promise.all(Array.from({ length: Math.min(WALKERS, replicas.length) }, work));
}

async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(clock, ms, signal);
  } catch {
    // Stopped: the loop sees the signal.
  }
}
