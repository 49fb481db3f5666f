import { LEGACY_FOLDER, parseLegacyKey } from '../formats/legacy/index.ts';
import { LitestreamError, wrapError } from '../lib/errors.ts';
import type { CallOptions, ObjectInfo, ReplicaClient } from '../storage/index.ts';
import type { TimeBounds } from './plan.ts';

/** A snapshot or a part of a WAL of a v0.3.x replica. */
export interface LegacyPart {
  /** WALs are numbered; a snapshot is the state before the WAL of its index. */
  readonly index: number;
  /** Bytes from the start of that WAL; 0 for a snapshot. */
  readonly offset: number;
  readonly object: ObjectInfo;
}

/** A snapshot and what was written after it, up to a restart of Litestream or a lost position. */
export interface LegacyGeneration {
  readonly name: string;
  readonly snapshots: readonly LegacyPart[];
  readonly segments: readonly LegacyPart[];
}

export interface LegacyListing {
  readonly generations: readonly LegacyGeneration[];
  /** Undefined if there is nothing at all. */
  readonly bounds: TimeBounds | undefined;
}

/** What a restore of a v0.3.x backup reads. */
export interface LegacyPlan {
  readonly generation: string;
  readonly snapshot: LegacyPart;
  /** In the order of the WAL. */
  readonly segments: readonly LegacyPart[];
  /** Time of the newest object, milliseconds since the Unix epoch. */
  readonly newestMs: number;
}

interface Collecting {
  readonly name: string;
  readonly snapshots: LegacyPart[];
  readonly segments: LegacyPart[];
}

/**
 * All v0.3.x data of a replica; nothing where the provider knows no such data. Other names are skipped. Spec: formats 7.1.
 *
 * @throws LitestreamError storage errors, prefixed `list generations: `
 */
export async function listLegacy(
  client: ReplicaClient,
  { signal }: CallOptions = {},
): Promise<LegacyListing> {
  const generations = new Map<string, Collecting>();
  let oldestMs = Infinity;
  let newestMs = -Infinity;
  try {
    for await (const object of client.listObjects?.(LEGACY_FOLDER, { signal }) ?? []) {
      const name = parseLegacyKey(object.key);
      if (name === undefined) continue;
      const generation: Collecting = generations.get(name.generation) ?? {
        name: name.generation,
        snapshots: [],
        segments: [],
      };
      generations.set(name.generation, generation);
      const { index } = name;
      if (name.kind === 'snapshot') generation.snapshots.push({ index, offset: 0, object });
      else generation.segments.push({ index, offset: name.offset, object });
      oldestMs = Math.min(oldestMs, object.modifiedAt);
      newestMs = Math.max(newestMs, object.modifiedAt);
    }
  } catch (error) {
    throw wrapError('list generations', error);
  }
  const bounds = newestMs < oldestMs ? undefined : { oldestMs, newestMs };
  return { generations: [...generations.values()], bounds };
}

function byPosition(a: LegacyPart, b: LegacyPart): number {
  return a.index - b.index || a.offset - b.offset;
}

function planGeneration(
  { name, snapshots, segments }: LegacyGeneration,
  isInTime: (part: LegacyPart) => boolean,
): LegacyPlan | undefined {
  const [snapshot] = snapshots
    .filter(isInTime)
    .toSorted((a, b) => b.object.modifiedAt - a.object.modifiedAt || b.index - a.index);
  if (snapshot === undefined) return undefined;
  const chosen = segments
    .filter((segment) => segment.index >= snapshot.index && isInTime(segment))
    .toSorted(byPosition);
  const newestMs = chosen.reduce(
    (newest, { object }) => Math.max(newest, object.modifiedAt),
    snapshot.object.modifiedAt,
  );
  return { generation: name, snapshot, segments: chosen, newestMs };
}

/** `index/offset` in decimal, as the reference prints positions. */
export function positionText(index: number, offset: number): string {
  return `${index}/${offset}`;
}

/** The error of a hole in front of `found`. */
export function missingSegment(
  what: 'WAL index' | 'WAL segment',
  expected: Pick<LegacyPart, 'index' | 'offset'>,
  found: LegacyPart,
): LitestreamError {
  const wanted = positionText(expected.index, expected.offset);
  const next = positionText(found.index, found.offset);
  return new LitestreamError('ERR_TX_GAP', `missing ${what}: expected ${wanted}, got ${next}`, {
    details: { path: found.object.key, expected: wanted, found: next },
  });
}

/** What names can tell about holes: indexes without a gap, each from offset 0. The rest shows when segments are read. */
function checkIndexes({ snapshot, segments }: LegacyPlan): void {
  let expected = snapshot.index;
  let current: number | undefined;
  for (const segment of segments) {
    const { index, offset } = segment;
    if (offset === 0) {
      if (index !== expected)
        throw missingSegment('WAL index', { index: expected, offset }, segment);
      current = index;
      expected = index + 1;
    } else if (index !== current) {
      throw missingSegment('WAL segment', { index: expected, offset: 0 }, segment);
    }
  }
}

/**
 * Chooses the generation whose data is newest, its newest snapshot and the WAL after it. With a time, objects that are newer
 * count as absent. Undefined if no snapshot is left.
 *
 * Spec: formats 7.4, failures RST-06 (by time of the newest data, not of the snapshot: generations may overlap).
 */
export function findLegacyPlan(
  { generations }: LegacyListing,
  timestampMs: number = Infinity,
): LegacyPlan | undefined {
  let chosen: LegacyPlan | undefined;
  for (const generation of generations) {
    const plan = planGeneration(generation, ({ object }) => object.modifiedAt <= timestampMs);
    if (plan === undefined) continue;
    if (chosen === undefined || plan.newestMs > chosen.newestMs) chosen = plan;
  }
  return chosen;
}

/**
 * {@link findLegacyPlan}, checked for holes.
 *
 * @throws LitestreamError `ERR_NO_SNAPSHOTS` (`no snapshots available`), `ERR_TX_GAP` (`apply WAL segments: missing WAL …`)
 */
export function planLegacy(listing: LegacyListing, timestampMs?: number): LegacyPlan {
  const plan = findLegacyPlan(listing, timestampMs);
  if (plan === undefined) throw new LitestreamError('ERR_NO_SNAPSHOTS', 'no snapshots available');
  try {
    checkIndexes(plan);
  } catch (error) {
    throw wrapError('apply WAL segments', error);
  }
  return plan;
}
