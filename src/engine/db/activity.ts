import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { errorMessage } from '../../lib/errors.ts';

/** Where a turn is. The names are the reference's. Spec: interfaces 2.3. */
export type ActivityPhase =
  | 'starting'
  | 'verify'
  | 'verify_and_sync'
  | 'sync_ltx'
  | 'write_ltx_from_db'
  | 'write_ltx_from_wal'
  | 'sync_complete'
  | 'checkpoint_if_needed'
  | 'checkpoint_exec'
  | 'update_metrics';

/** The turn that runs, or the last one. Times are wall-clock milliseconds. */
export interface ActivityReport {
  readonly active: boolean;
  readonly phase: ActivityPhase;
  readonly startedAt: number;
  /** Of the last change of phase. */
  readonly updatedAt: number;
  readonly elapsedMs: number;
  /** TXID that was written last. */
  readonly txid: Txid;
  /** Bytes of the WAL that the turn wrote; 0 if none. */
  readonly walSize: number;
  /** End of what was captured, in the WAL. */
  readonly lastSyncedWalOffset: number;
  /** A file with every page was written. */
  readonly snapshotting: boolean;
  readonly checkpointMode: string;
  readonly reason: string;
  /** Failure of the last turn. */
  readonly error: string;
  /** Callers that wait for their turn, and since when the first of them does. */
  readonly waiters: number;
  readonly waitStartedAt: number | undefined;
  readonly waitMs: number;
}

interface Moment {
  readonly wallMs: number;
  readonly monotonic: number;
}

/** What one database is doing: for the diagnosis of one that is stuck, so nothing here waits. */
export class Activity {
  readonly #clock: Clock;
  readonly #waits = new Set<Moment>();
  #phase: ActivityPhase = 'starting';
  #active = false;
  #started: Moment;
  #updated: Moment;
  #ended: Moment | undefined;
  #txid: Txid = NO_TXID;
  #walSize = 0;
  #offset = 0;
  #snapshotReason: string | undefined;
  #checkpointMode = '';
  #error = '';

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#started = this.#updated = this.#now();
  }

  /** Reports one turn. */
  async turn(run: () => Promise<void>): Promise<void> {
    this.#started = this.#now();
    this.#active = true;
    this.#ended = undefined;
    this.#walSize = 0;
    this.#snapshotReason = undefined;
    this.#checkpointMode = '';
    this.enter('starting');
    try {
      await run();
      this.#error = '';
    } catch (error) {
      this.#error = errorMessage(error);
      throw error;
    } finally {
      this.#active = false;
      this.#ended = this.#now();
    }
  }

  /** Notes a caller that waits for its turn; call the result when it has come, or was given up. */
  wait(): () => void {
    const moment = this.#now();
    this.#waits.add(moment);
    return () => void this.#waits.delete(moment);
  }

  enter(phase: ActivityPhase): void {
    this.#phase = phase;
    this.#updated = this.#now();
  }

  /** A file is being written; `reason` says why it holds every page. */
  writing(walSize: number, reason: string | undefined): void {
    this.#walSize = walSize;
    this.#snapshotReason = reason;
    this.enter(reason === undefined ? 'write_ltx_from_wal' : 'write_ltx_from_db');
  }

  wrote(txid: Txid, offset: number): void {
    this.#txid = txid;
    this.#offset = offset;
    if (this.#active) this.enter('sync_complete');
  }

  checkpointing(mode: string): void {
    this.#checkpointMode = mode;
    this.enter('checkpoint_exec');
  }

  report(): ActivityReport {
    const now = this.#now();
    const [firstWait] = this.#waits;
    return {
      active: this.#active,
      phase: this.#phase,
      startedAt: this.#started.wallMs,
      updatedAt: this.#updated.wallMs,
      elapsedMs: (this.#ended ?? now).monotonic - this.#started.monotonic,
      txid: this.#txid,
      walSize: this.#walSize,
      lastSyncedWalOffset: this.#offset,
      snapshotting: this.#active && this.#snapshotReason !== undefined,
      checkpointMode: this.#checkpointMode,
      reason: this.#snapshotReason ?? '',
      error: this.#error,
      waiters: this.#waits.size,
      waitStartedAt: firstWait?.wallMs,
      waitMs: firstWait === undefined ? 0 : now.monotonic - firstWait.monotonic,
    };
  }

  #now(): Moment {
    return { wallMs: this.#clock.now(), monotonic: this.#clock.monotonic() };
  }
}
