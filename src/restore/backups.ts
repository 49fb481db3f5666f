import { isLitestreamError } from '../lib/errors.ts';
import type { CallOptions, ReplicaClient } from '../storage/index.ts';
import { ReplicaCatalog } from './catalog.ts';
import type { DamagedFiles } from './damaged-files.ts';
import { findLegacyPlan, type LegacyListing, type LegacyPlan, planLegacy } from './legacy-plan.ts';
import {
  choosePlan,
  LEVEL_COUNT,
  listAll,
  listingBounds,
  type RestorePlan,
  type RestoreTarget,
  type TimeBounds,
} from './plan.ts';
import { planByTime } from './plan-by-time.ts';

/** What is to be restored, from which of the two layouts that one path can hold. */
export type Backup =
  | { readonly kind: 'ltx'; readonly plan: RestorePlan }
  | {
      readonly kind: 'legacy';
      readonly plan: LegacyPlan;
      /** True if there are LTX files, too. */
      readonly contested: boolean;
    };

function legacyBackup(listing: LegacyListing, contested: boolean, timestampMs?: number): Backup {
  return { kind: 'legacy', plan: planLegacy(listing, timestampMs), contested };
}

export interface PlanOptions extends CallOptions {
  /** What is known of the replica already. Default: it is listed now. */
  readonly catalog?: ReplicaCatalog | undefined;
  /** False: times of files in the midst of a plan are not asked for where that costs requests. Default true. */
  readonly exact?: boolean | undefined;
  /** Files that are not to be planned with. */
  readonly damaged?: DamagedFiles | undefined;
}

/** True if the replica holds no backup of either layout: complete listings succeeded and held nothing. */
export async function isEmptyReplica(
  client: ReplicaClient,
  { signal, catalog }: PlanOptions = {},
): Promise<boolean> {
  if (catalog !== undefined) {
    if ((await catalog.levels()).some((files) => files.length > 0)) return false;
    return (await catalog.legacy()).bounds === undefined;
  }
  for (let level = LEVEL_COUNT - 1; level >= 0; level -= 1) {
    for await (const _file of client.list(level, { signal })) return false;
  }
  const { bounds } = await new ReplicaCatalog(client, { timed: false, signal }).legacy();
  return bounds === undefined;
}

/** Bounds that come from the first and the last file by TXID: two requests. */
async function likelyBounds(catalog: ReplicaCatalog): Promise<TimeBounds | undefined> {
  const files = (await catalog.levels()).flat();
  const [first] = files.toSorted((a, b) => (a.maxTxid < b.maxTxid ? -1 : 1));
  const [last] = files.toSorted((a, b) => (a.maxTxid > b.maxTxid ? -1 : 1));
  if (first === undefined || last === undefined) return undefined;
  return listingBounds([await catalog.timed([first, last])]);
}

/**
 * Oldest and newest time over all files of both layouts, undefined when the replica is empty. With a time, a narrower range will do
 * that the time lies in: it takes fewer requests.
 *
 * @param catalog - of a replica, with times
 */
export async function timeBounds(
  catalog: ReplicaCatalog,
  timestampMs?: number,
): Promise<TimeBounds | undefined> {
  if (timestampMs !== undefined) {
    const likely = await likelyBounds(catalog);
    if (likely && likely.oldestMs <= timestampMs && timestampMs <= likely.newestMs) return likely;
  }
  const ltx = listingBounds(await catalog.timedLevels());
  const { bounds: legacy } = await catalog.legacy();
  if (ltx === undefined || legacy === undefined) return ltx ?? legacy;
  return {
    oldestMs: Math.min(ltx.oldestMs, legacy.oldestMs),
    newestMs: Math.max(ltx.newestMs, legacy.newestMs),
  };
}

/** The plan that a catalog allows; if it allows none, that of a second look from the lowest level up. */
async function planFrom(
  catalog: ReplicaCatalog,
  client: ReplicaClient,
  target: RestoreTarget,
  { damaged, signal, exact = true }: PlanOptions,
): Promise<RestorePlan> {
  const { txid, timestampMs } = target;
  const listing = await catalog.levels();
  try {
    if (timestampMs === undefined || txid !== undefined) return choosePlan(listing, target);
    return await planByTime(catalog, { timestampMs, exact });
  } catch (error) {
    const isFinal = !isLitestreamError(error) || !SECOND_LOOK.has(error.code);
    if (isFinal || listing.every((files) => files.length === 0)) throw error;
    // A compaction between two listings looks like a gap: its output is missed, its inputs are gone. From the lowest level
    // up nothing can be missed, because the output exists before its inputs are deleted.
    const accurateTimes = timestampMs !== undefined;
    const second = await listAll(client, { accurateTimes, signal, parallel: 1 });
    return choosePlan(damaged?.without(second) ?? second, target);
  }
}

const SECOND_LOOK: ReadonlySet<string> = new Set([
  'ERR_TX_NOT_AVAILABLE',
  'ERR_TX_GAP',
  'ERR_STORAGE_NOT_FOUND',
]);

/**
 * Plans a restore from LTX files. Each level is listed once.
 *
 * @throws LitestreamError `ERR_TX_NOT_AVAILABLE` (`transaction not available`), `ERR_TX_GAP` (`non-contiguous ltx files: …`) and
 *   storage errors. Spec: replication 23.3.
 */
export async function planRestore(
  client: ReplicaClient,
  target: RestoreTarget,
  options: PlanOptions = {},
): Promise<RestorePlan> {
  return await planFrom(catalogFor(client, target, options), client, target, options);
}

function catalogFor(
  client: ReplicaClient,
  { timestampMs }: RestoreTarget,
  { catalog, damaged, signal }: PlanOptions,
): ReplicaCatalog {
  const timed = timestampMs !== undefined;
  return catalog ?? new ReplicaCatalog(client, { timed, damaged, signal });
}

/** The newest state before a time. A plan that cannot be carried out leaves the field to the other layout. */
async function chooseByTime(
  catalog: ReplicaCatalog,
  legacy: LegacyListing,
  target: RestoreTarget & { readonly timestampMs: number },
): Promise<Backup | undefined> {
  const { timestampMs } = target;
  const listing = await catalog.timedLevels();
  const inTime = listing.map((files) => files.filter(({ createdAt }) => createdAt < timestampMs));
  const newestLtx = listingBounds(inTime)?.newestMs ?? -Infinity;
  const newestLegacy = findLegacyPlan(legacy, timestampMs)?.newestMs;
  const contested = listing.some((files) => files.length > 0);
  if (newestLegacy === undefined && contested) return undefined;
  if (newestLegacy === undefined || newestLegacy > newestLtx) {
    return legacyBackup(legacy, contested, timestampMs);
  }
  try {
    return { kind: 'ltx', plan: choosePlan(listing, target) };
  } catch (error) {
    if (!isLitestreamError(error, 'ERR_TX_NOT_AVAILABLE')) throw error;
    return legacyBackup(legacy, contested, timestampMs);
  }
}

/**
 * Chooses between LTX files and v0.3.x data by the time of their newest data that the target allows; equal times go to LTX. A
 * TXID means LTX. Each level, and the v0.3.x data, is listed once. Spec: formats 7.3, replication 23.2, failures RST-06.
 *
 * @throws LitestreamError as `planRestore`; `ERR_NO_SNAPSHOTS` and `ERR_TX_GAP` for v0.3.x data
 */
export async function chooseBackup(
  client: ReplicaClient,
  target: RestoreTarget,
  options: PlanOptions = {},
): Promise<Backup> {
  const { txid, timestampMs } = target;
  const catalog = catalogFor(client, target, options);
  // Both are needed, mostly. Whoever asks for the levels is told of their failure.
  const listed = txid === undefined ? catalog.legacy() : Promise.resolve(undefined);
  await Promise.allSettled([listed, catalog.levels()]);
  const legacy = await listed;
  if (legacy?.bounds !== undefined) {
    if (timestampMs !== undefined) {
      const chosen = await chooseByTime(catalog, legacy, { timestampMs });
      if (chosen !== undefined) return chosen;
    } else {
      const bounds = listingBounds(await catalog.levels());
      if (bounds === undefined || bounds.newestMs < legacy.bounds.newestMs) {
        return legacyBackup(legacy, bounds !== undefined);
      }
    }
  }
  return { kind: 'ltx', plan: await planFrom(catalog, client, target, options) };
}
