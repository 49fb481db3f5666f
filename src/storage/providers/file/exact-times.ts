import type { Clock, TimerHandle } from '../../../lib/clock.ts';
import { isExactInNode } from '../../../lib/exact-times.ts';
import type { FileSystem } from '../../../lib/file-system.ts';

/** From a write to the helper: a burst of writes becomes one batch. */
const DELAY_MS = 50;
/**
 * Between two helpers: the first, and the longest while files keep coming. Starting one stops the event loop for 1 ms per 25 MB of
 * memory, and each file costs the helper about 1 ms.
 */
const GAP_MS = 1000;
const GAP_MS_MAX = 10_000;
const GAP_GROWTH = 1.5;
/** After so long without a file the first gap is back. */
const QUIET_MS = 30_000;
/** Files per helper: half a percent of a core, however many databases there are. */
const BATCH_MAX = 50;
/** The same when somebody waits: about a second of its time. */
const HURRIED_BATCH_MAX = 1000;
/** Writes beyond this many keep the time that Node could set. */
const PENDING_MAX = 4000;
/** Longest wait of a close. */
const DRAIN_MS = 5000;

interface Pending {
  readonly ms: number;
  /** Counts from 1 in the order of the map. */
  readonly number: number;
}

interface Waiter {
  readonly until: number;
  readonly settle: () => void;
}

/**
 * Puts exact file times in place, in the background and in batches.
 *
 * Node passes times as doubles of seconds, which are 238 ns apart today, so that seven of eight milliseconds are missed by a
 * fraction of a microsecond. A file's time is the replica's only record of its creation, and other programs compare it with
 * the LTX header. A write therefore sets the nearest time above before the file gets its name, and announces the exact one here.
 * Losing that to a crash, a missing `touch` or a full queue leaves the file less than half a microsecond late, never wrong.
 */
export class ExactTimes {
  readonly #fs: FileSystem;
  readonly #clock: Clock;
  readonly #pending = new Map<string, Pending>();
  readonly #waiters = new Set<Waiter>();
  #inHand = new Set<string>();
  #timer: TimerHandle | undefined;
  #announced = 0;
  #done = 0;
  #running = false;
  #lastEnd = -Infinity;
  #gapMs = GAP_MS;

  constructor(fileSystem: FileSystem, clock: Clock) {
    this.#fs = fileSystem;
    this.#clock = clock;
  }

  /** Announces a file that was given this time as well as Node can. Returns at once. */
  announce(path: string, ms: number): void {
    const known = this.#pending.delete(path);
    // A file that is replaced while the helper has its former time needs the new one even if Node has hit it.
    if (isExactInNode(ms) && !known && !this.#inHand.has(path)) return;
    if (this.#pending.size >= PENDING_MAX) return;
    this.#announced++;
    this.#pending.set(path, { ms, number: this.#announced });
    this.#arm();
  }

  /** Waits, at most five seconds, until everything that was announced before is in place. */
  drain(): Promise<void> {
    if (this.#pending.size === 0 && !this.#running) return Promise.resolve();
    return new Promise((resolve) => {
      const waiter: Waiter = {
        until: this.#announced,
        settle: () => {
          this.#waiters.delete(waiter);
          bound.cancel();
          resolve();
        },
      };
      const bound = this.#clock.timer(DRAIN_MS, waiter.settle);
      this.#waiters.add(waiter);
      this.#arm();
    });
  }

  #arm(): void {
    if (this.#running || this.#pending.size === 0) return;
    const hurry = this.#waiters.size > 0;
    if (this.#timer !== undefined && !hurry) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (hurry) {
      void this.#flush();
      return;
    }
    const rest = this.#lastEnd + this.#gapMs - this.#clock.monotonic();
    this.#timer = this.#clock.timer(Math.max(DELAY_MS, rest), () => {
      this.#timer = undefined;
      void this.#flush();
    });
    this.#timer.unref?.();
  }

  /** One batch; the rest is armed behind it. */
  async #flush(): Promise<void> {
    if (this.#running || this.#pending.size === 0) return;
    this.#running = true;
    const quiet = this.#clock.monotonic() - this.#lastEnd > QUIET_MS;
    this.#gapMs = quiet ? GAP_MS : Math.min(GAP_MS_MAX, this.#gapMs * GAP_GROWTH);
    const limit = this.#waiters.size > 0 ? HURRIED_BATCH_MAX : BATCH_MAX;
    const entries: { readonly path: string; readonly ms: number }[] = [];
    let last = this.#done;
    for (const [path, { ms, number }] of this.#pending) {
      if (entries.length === limit) break;
      entries.push({ path, ms });
      last = number;
      this.#pending.delete(path);
    }
    this.#inHand = new Set(entries.map(({ path }) => path));
    try {
      await this.#fs.setExactTimes('file:exact-times', entries);
    } catch {
      // The times are right to half a microsecond already.
    }
    this.#inHand.clear();
    this.#done = this.#pending.size === 0 ? this.#announced : last;
    this.#lastEnd = this.#clock.monotonic();
    this.#running = false;
    for (const waiter of this.#waiters) if (waiter.until <= this.#done) waiter.settle();
    this.#arm();
  }
}

const shared = new WeakMap<FileSystem, WeakMap<Clock, ExactTimes>>();

/** The queue of all clients on this file system: a thousand replicas share one helper. */
export function exactTimes(fileSystem: FileSystem, clock: Clock): ExactTimes {
  const ofFileSystem = shared.get(fileSystem) ?? new WeakMap<Clock, ExactTimes>();
  shared.set(fileSystem, ofFileSystem);
  const queue = ofFileSystem.get(clock) ?? new ExactTimes(fileSystem, clock);
  ofFileSystem.set(clock, queue);
  return queue;
}
