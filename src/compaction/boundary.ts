/** Milliseconds from 0001-01-01T00:00:00Z to the Unix epoch. */
const EPOCH_OFFSET_MS = 62_135_596_800_000;

/**
 * The last multiple of an interval at or before a time; multiples are counted from 0001-01-01T00:00:00Z, so that 7 days begin
 * where the reference begins them. All values are in milliseconds, times since the Unix epoch.
 *
 * Spec: replication 17.2.
 */
export function previousBoundary(nowMs: number, intervalMs: number): number {
  const since = nowMs + EPOCH_OFFSET_MS;
  return since - positiveRemainder(since, intervalMs) - EPOCH_OFFSET_MS;
}

/** The first multiple of an interval after a time; see {@link previousBoundary}. */
export function nextBoundary(nowMs: number, intervalMs: number): number {
  return previousBoundary(nowMs, intervalMs) + intervalMs;
}

function positiveRemainder(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}
