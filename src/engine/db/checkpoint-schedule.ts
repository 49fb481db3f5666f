import type { CheckpointOutcome } from './checkpointer.ts';

const BACKOFF_MS_FIRST = 1000;
const BACKOFF_MS_MAX = 60_000;
const LOCKED_MS_FIRST = 50;
const LOCKED_MS_MAX = 1000;
/** Multiples of the threshold at which a WAL that cannot shrink is spoken of. */
const ALARMS = [2, 10, 50, 250];

export interface CheckpointThresholds {
  readonly minCheckpointPages: number;
  readonly checkpointIntervalMs: number;
}

/** Decides when a checkpoint is worth trying. Pure: times are milliseconds of a monotonic clock. Spec: replication 12.1, W-7. */
export class CheckpointSchedule {
  readonly #thresholds: CheckpointThresholds;
  /** Since when frames have been waiting. */
  #pendingSince: number | undefined;
  /** After a blocked try: more frames than this, or this time, are needed for another one. */
  #retryPending = 0;
  #retryAt: number;
  #backoffMs = BACKOFF_MS_FIRST;
  #blockedSince: number | undefined;
  #alarms = 0;
  #lockedMs = 0;
  #lockedUntil = -Infinity;

  constructor(thresholds: CheckpointThresholds, now: number) {
    this.#thresholds = thresholds;
    this.#retryAt = now;
  }

  /** @param pending - frames that are not in the database file yet. */
  due(pending: number, now: number): boolean {
    if (pending === 0) {
      this.#pendingSince = undefined;
      return false;
    }
    this.#pendingSince ??= now;
    const { minCheckpointPages, checkpointIntervalMs } = this.#thresholds;
    const bySize = pending >= minCheckpointPages;
    const byTime = checkpointIntervalMs > 0 && now - this.#pendingSince >= checkpointIntervalMs;
    if ((!bySize && !byTime) || now < this.#lockedUntil) return false;
    return (
      this.#blockedSince === undefined || pending >= this.#retryPending || now >= this.#retryAt
    );
  }

  /** Takes note of a try that left `pending` frames. */
  note(outcome: CheckpointOutcome, pending: number, now: number): void {
    if (pending === 0 || outcome === 'complete') this.#pendingSince = undefined;
    if (outcome === 'locked') {
      this.#lockedMs = Math.min(LOCKED_MS_MAX, Math.max(LOCKED_MS_FIRST, this.#lockedMs * 2));
      this.#lockedUntil = now + this.#lockedMs;
      return;
    }
    this.#lockedMs = 0;
    if (outcome !== 'blocked') {
      this.#blockedSince = undefined;
      this.#backoffMs = BACKOFF_MS_FIRST;
      this.#alarms = 0;
      return;
    }
    this.#blockedSince ??= now;
    this.#retryPending = pending + this.#thresholds.minCheckpointPages;
    this.#retryAt = now + this.#backoffMs;
    this.#backoffMs = Math.min(BACKOFF_MS_MAX, this.#backoffMs * 2);
  }

  /** Takes note of frames that wait because a snapshot of ours reads. Its end makes a try due. */
  held(now: number): void {
    this.#blockedSince ??= now;
    this.#retryAt = now;
  }

  /** Once at 2, 10, 50, 250 times the threshold: how long a checkpoint has been blocked. */
  alarm(pending: number): { sinceMs: number } | undefined {
    if (this.#blockedSince === undefined) return undefined;
    const factor = ALARMS[this.#alarms];
    if (factor === undefined || pending < factor * this.#thresholds.minCheckpointPages) {
      return undefined;
    }
    this.#alarms++;
    return { sinceMs: Math.max(0, this.#retryAt - this.#blockedSince) };
  }
}
