import type { FileInfo } from '../storage/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { ReplicaCatalog } from './catalog.ts';
import {
  byPreference,
  follow,
  type Listing,
  planOf,
  type RestorePlan,
  SNAPSHOT_LEVEL,
} from './plan.ts';

/** Times asked for at once while looking for the place where a chain gets too new. */
const PROBES = 7;
/** Snapshots asked at once grow up to this. */
const SNAPSHOTS_AT_ONCE = 50;

export interface PlanByTimeOptions {
  /** Only files created strictly before this time. Milliseconds since the Unix epoch. */
  readonly timestampMs: number;
  /**
   * True: the time of every planned file is asked for. False: of files in front of one that is in time it is believed that they
   * are, too, which whoever reads their headers has to check.
   */
  readonly exact: boolean;
}

/** Positions between `low` and `high`, both excluded: close to the start at first, evenly spread later. */
function probes(low: number, high: number, first: boolean): number[] {
  const found = new Set<number>();
  if (first) {
    for (let step = 1; low + step < high; step *= 2) found.add(low + step);
    found.add(high - 1);
  } else {
    for (let at = 1; at <= PROBES; at += 1)
      found.add(low + Math.ceil((at * (high - low)) / (PROBES + 1)));
  }
  return [...found].filter((at) => at > low && at < high);
}

/**
 * Chooses the files of a restore to a time, asking for few of the times. What is left out is left out for its own time. What is
 * taken without a question stands in a chain in front of a file that is old enough.
 */
class PlanByTime {
  readonly #catalog: ReplicaCatalog;
  readonly #listing: Listing;
  readonly #options: PlanByTimeOptions;

  constructor(catalog: ReplicaCatalog, listing: Listing, options: PlanByTimeOptions) {
    this.#catalog = catalog;
    this.#listing = listing;
    this.#options = options;
  }

  async run(): Promise<RestorePlan> {
    const snapshot = await this.#snapshot();
    const increments = this.#listing.slice(0, SNAPSHOT_LEVEL).flat();
    const start = snapshot?.maxTxid ?? 0n;
    let chain;
    do {
      chain = follow(
        start,
        increments.filter((file) => this.#isLate(file) !== true),
      );
    } while (await this.#findLate(chain.files));
    const files = snapshot === undefined ? chain.files : [snapshot, ...chain.files];
    const isHole = chain.next !== undefined && follow(chain.reached, increments).next !== undefined;
    if (files.length === 0 || isHole) {
      // All times have to be known to say what is wrong, or whether anything is.
      const message = 'transaction not available';
      throw new LitestreamError('ERR_TX_NOT_AVAILABLE', message);
    }
    const timed = this.#options.exact ? await this.#catalog.timed(files) : files;
    return planOf(timed, this.#listing);
  }

  /** True, too late; false, in time; undefined, not known. */
  #isLate(file: FileInfo): boolean | undefined {
    const time = this.#catalog.knownTime(file);
    return time === undefined ? undefined : time >= this.#options.timestampMs;
  }

  /** The newest snapshot that is in time. */
  async #snapshot(): Promise<FileInfo | undefined> {
    const snapshots = (this.#listing[SNAPSHOT_LEVEL] ?? [])
      .filter(({ minTxid }) => minTxid === 1n)
      .toSorted(byPreference);
    let count = 1;
    for (
      let at = 0;
      at < snapshots.length;
      at += count, count = Math.min(count * 2, SNAPSHOTS_AT_ONCE)
    ) {
      const some = snapshots.slice(at, at + count);
      await this.#catalog.timed(some);
      const found = some.find((file) => this.#isLate(file) === false);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Looks for files of a chain that are too late. Returns true once one is known, false if there is none. */
  async #findLate(files: readonly FileInfo[]): Promise<boolean> {
    let low = files.findLastIndex((file) => this.#isLate(file) === false);
    let high = files.length;
    for (let first = true; high - low > 1; first = false) {
      const asked = probes(low, high, first);
      await this.#catalog.timed(asked.flatMap((at) => files[at] ?? []));
      for (const at of asked.toSorted((a, b) => a - b)) {
        const file = files[at];
        if (file === undefined) continue;
        if (this.#isLate(file) === true) {
          high = at;
          break;
        }
        low = at;
      }
    }
    if (this.#options.exact && high === files.length) await this.#catalog.timed(files);
    return files.some((file) => this.#isLate(file) === true);
  }
}

/**
 * As `choosePlan` with a time and exact times would choose, from times that take a request each: of thousands of files a few dozen
 * are asked for, many at a time. Spec: failures RST-13.
 *
 * @throws LitestreamError `ERR_TX_NOT_AVAILABLE` also where only all times would tell whether there is a plan.
 */
export async function planByTime(
  catalog: ReplicaCatalog,
  options: PlanByTimeOptions,
): Promise<RestorePlan> {
  return await new PlanByTime(catalog, await catalog.levels(), options).run();
}
