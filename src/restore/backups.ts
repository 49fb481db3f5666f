import { isLitestreamError } from '../lib/errors.ts';
import type { CallOptions, ReplicaClient } from '../storage/index.ts';
import {
  findLegacyPlan,
  type LegacyListing,
  type LegacyPlan,
  listLegacy,
  planLegacy,
} from './legacy-plan.ts';
import {
  choosePlan,
  LEVEL_COUNT,
  listAll,
  listingBounds,
  LISTINGS_AT_ONCE,
  planRestore,
  type RestorePlan,
  type RestoreTarget,
  type TimeBounds,
} from './plan.ts';

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

/** True if the replica holds no backup of either layout: complete listings succeeded and held nothing. */
export async function isEmptyReplica(
  client: ReplicaClient,
  options: CallOptions = {},
): Promise<boolean> {
  const { signal } = options;
  for (let level = LEVEL_COUNT - 1; level >= 0; level -= 1) {
    for await (const _file of client.list(level, { signal })) return false;
  }
  return (await listLegacy(client, options)).bounds === undefined;
}

/** Oldest and newest time over all files of both layouts, undefined when the replica is empty. */
export async function timeBounds(
  client: ReplicaClient,
  options: CallOptions = {},
): Promise<TimeBounds | undefined> {
  const { signal } = options;
  const listed = { accurateTimes: true, signal, parallel: LISTINGS_AT_ONCE };
  const ltx = listingBounds(await listAll(client, listed));
  const { bounds: legacy } = await listLegacy(client, options);
  if (ltx === undefined || legacy === undefined) return ltx ?? legacy;
  return {
    oldestMs: Math.min(ltx.oldestMs, legacy.oldestMs),
    newestMs: Math.max(ltx.newestMs, legacy.newestMs),
  };
}

/** The newest state before a time. A plan that cannot be carried out leaves the field to the other layout. */
async function chooseByTime(
  client: ReplicaClient,
  legacy: LegacyListing,
  target: RestoreTarget & { readonly timestampMs: number },
  { signal }: CallOptions,
): Promise<Backup> {
  const { timestampMs } = target;
  const listed = { accurateTimes: true, signal, parallel: LISTINGS_AT_ONCE };
  const listing = await listAll(client, listed);
  const inTime = listing.map((files) => files.filter(({ createdAt }) => createdAt < timestampMs));
  const newestLtx = listingBounds(inTime)?.newestMs ?? -Infinity;
  const newestLegacy = findLegacyPlan(legacy, timestampMs)?.newestMs;
  const contested = listing.some((files) => files.length > 0);
  if (newestLegacy === undefined && contested) {
    return { kind: 'ltx', plan: await planRestore(client, target, { signal }) };
  }
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
 * TXID means LTX. Spec: formats 7.3, replication 23.2, failures RST-06.
 *
 * @throws LitestreamError as `planRestore`; `ERR_NO_SNAPSHOTS` and `ERR_TX_GAP` for v0.3.x data
 */
export async function chooseBackup(
  client: ReplicaClient,
  target: RestoreTarget,
  options: CallOptions = {},
): Promise<Backup> {
  const { txid, timestampMs } = target;
  const legacy = txid === undefined ? await listLegacy(client, options) : undefined;
  if (legacy?.bounds === undefined) {
    return { kind: 'ltx', plan: await planRestore(client, target, options) };
  }
  if (timestampMs !== undefined) return chooseByTime(client, legacy, { timestampMs }, options);
  const { signal } = options;
  const listed = { accurateTimes: false, signal, parallel: LISTINGS_AT_ONCE };
  const bounds = listingBounds(await listAll(client, listed));
  if (bounds !== undefined && bounds.newestMs >= legacy.bounds.newestMs) {
    return { kind: 'ltx', plan: await planRestore(client, target, options) };
  }
  return legacyBackup(legacy, bounds !== undefined);
}
