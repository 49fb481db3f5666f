import type { EncodePool } from '../../codec/index.ts';
import type { Txid } from '../../formats/ltx/index.ts';
import { LitestreamError } from '../../lib/errors.ts';
import type { Replacement } from '../../sqlite/index.ts';
import { DurationValue, type Logger } from '../../telemetry/index.ts';
import type { DatabaseOptions, Ports } from '../options.ts';
import type { Activity } from './activity.ts';
import { CheckpointSchedule } from './checkpoint-schedule.ts';
import { Checkpointer } from './checkpointer.ts';
import { ContinuityLost } from './continuity-lost.ts';
import { FrameRate } from './frame-rate.ts';
import { captureLast } from './last-capture.ts';
import type { LocalFiles } from './local-files.ts';
import { truncateOutsized } from './outsized-wal.ts';
import { captureInterval, Pace } from './pace.ts';
import { CheckpointMetrics } from './pass-metrics.ts';
import type { Published } from './publish.ts';
import { Publisher } from './publisher.ts';
import type { Captured, CaptureSession } from './session.ts';
import type { FullReason, Transaction } from './transaction.ts';
import { UnchangedWal } from './unchanged-wal.ts';
import { restartedUnseen } from './unseen-restart.ts';
import type { Waker } from './waker.ts';

/** Connections that an idle database does not need are closed after this long. */
const SPARES_IDLE_MS = 30_000;
const WAIT_MS_MIN = 5;
/** So many frames at once are a burst: its checkpoints will need the thread, which takes as long to start as tens of MB to be written. */
const BURST_FRAMES = 64;

export interface CaptureLoopInit {
  readonly options: DatabaseOptions;
  readonly ports: Ports;
  readonly files: LocalFiles;
  readonly logger: Logger;
  readonly activity: Activity;
  readonly session: CaptureSession;
  readonly pool?: EncodePool | undefined;
  readonly lastTxid: Txid;
  readonly timestampMs: number;
  readonly onPublished: (txid: Txid, breaksHistory: boolean) => void;
}

/** A database as of one transaction, readable until it is released. */
export interface SnapshotView {
  readonly txid: Txid;
  readonly pageSize: number;
  /** Every page; read it from start to end. */
  readonly transaction: Transaction;
  /** Must be called, whatever happens: checkpoints wait for it. */
  release(): void;
}

/**
 * Drives one session: what to do in one turn, and when the next one is due. Runs under the database's lock; only the writing
 * of transaction files goes on beside it.
 */
export class CaptureLoop {
  readonly #init: CaptureLoopInit;
  readonly #session: CaptureSession;
  readonly #publisher: Publisher;
  readonly #checkpointer: Checkpointer;
  readonly #meter: CheckpointMetrics;
  readonly #schedule: CheckpointSchedule;
  readonly #pace: Pace;
  readonly #rate: FrameRate;
  readonly #known = new UnchangedWal();
  #busyAt: number;
  #foundFrames = true;
  /** A full transaction that has to come before anything else. */
  #owed: FullReason | undefined;
  #unregisteredTurns = 0;
  /** Snapshots that read from the database file: no checkpoint may change it meanwhile. */
  #views = 0;
  /** Since when captured pages wait to be frozen, and a frozen transaction for its durable file. */
  #pendingSince: number | undefined;
  #frozenSince: number | undefined;

  constructor(init: CaptureLoopInit) {
    this.#init = init;
    const { files, logger, options, pool, session } = init;
    const { clock } = init.ports;
    this.#session = session;
    this.#publisher = new Publisher(
      { files, clock, pool, onPublished: (...done) => this.#published(...done) },
      init.lastTxid,
    );
    this.#publisher.setLastTxid(init.lastTxid, init.timestampMs);
    this.#checkpointer = new Checkpointer({
      clock,
      logger,
      flush: () => this.#flush(),
      gatherPending: (bytesMax) =>
        this.#publisher.gatherBytes <= bytesMax && this.#publisher.gather(),
    });
    this.#meter = new CheckpointMetrics(options.path, init.ports.metrics, clock);
    this.#schedule = new CheckpointSchedule(options, clock.monotonic());
    this.#pace = new Pace({ ...captureInterval(options), now: clock.monotonic() });
    this.#rate = new FrameRate(clock.monotonic());
    this.#busyAt = clock.monotonic();
  }

  get lastTxid(): Txid {
    return this.#publisher.lastTxid;
  }

  /** The WAL that is followed. */
  get walPath(): string {
    return this.#session.live.walPath;
  }

  /** End of the WAL content that is in local files; undefined while some waits for its file. */
  get syncedWalSize(): number | undefined {
    if (this.#session.pages > 0 || this.#publisher.busy) return undefined;
    return this.#session.capture.position?.offset ?? 0;
  }

  /** Since when captured pages wait for their file, milliseconds of the monotonic clock. */
  get pendingSince(): number | undefined {
    return this.#frozenSince ?? this.#pendingSince;
  }

  /** Bytes of the database file at the last {@link replacement}. */
  get databaseSize(): number | undefined {
    return this.#session.live.seenSize;
  }

  /** What stands under the database's paths instead of the open files. */
  replacement(): Replacement | undefined {
    return this.#session.live.replacement();
  }

  /** Starts writing the transaction that the session begins with. */
  publishFirst(first: Transaction): void {
    this.#begin(first);
  }

  /**
   * One turn.
   *
   * @param force - do not return before everything captured is in durable files.
   * @throws ContinuityLost, LitestreamError
   */
  pass(force: boolean, signal: AbortSignal): Promise<void> {
    return this.#owing(() => this.#pass(force, signal));
  }

  /** What breaks continuity is owed from then on, whoever asks next, and also if the caller gives up. */
  async #owing(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } catch (error) {
      if (error instanceof ContinuityLost) this.#owed ??= { reason: error.reason, level: 'warn' };
      throw error;
    }
  }

  async #pass(force: boolean, signal: AbortSignal): Promise<void> {
    this.#requireCustody();
    if (this.#owed !== undefined) await this.restart(this.#owed);
    if (this.#publisher.failure !== undefined) {
      this.#publisher.retry();
      await this.#publisher.settled();
    }
    const { activity } = this.#init;
    activity.enter('verify_and_sync');
    // As old as this turn: what has come since is seen by the next one.
    const stat = this.#session.live.seenWal;
    if (!force && this.#known.holds(stat, this.#init.ports.clock.now())) {
      this.#foundFrames = false;
    } else {
      const captured = await this.#capture();
      if (captured.end) this.#known.note(this.#session.capture.unregistered ? undefined : stat);
    }
    activity.enter('sync_ltx');
    await this.#publish(force);
    activity.enter('checkpoint_if_needed');
    await this.#checkpoint(signal);
    if (force) await this.#publisher.settled();
    await this.#closeSpares();
    activity.enter('update_metrics');
  }

  /** True if a turn would find nothing to do: nobody has touched the files, and nothing waits. Two `stat` calls. */
  isIdle(): boolean {
    const { clock } = this.#init.ports;
    const { live, pages } = this.#session;
    if (this.#foundFrames || pages > 0 || this.#owed !== undefined || this.#publisher.busy)
      return false;
    if (live.hasSpares || !live.readerStands) return false;
    const pending = this.#checkpointer.pending(this.#session);
    if (this.#schedule.due(pending, clock.monotonic())) return false;
    if (live.replacement() !== undefined) return false;
    if (this.#known.holds(live.seenWal, clock.now())) return true;
    // Now and then it is read all the same.
    this.#known.note(undefined);
    return false;
  }

  /** Milliseconds until the next turn; arms the watch when the database is quiet. */
  nextWaitMs(waker: Waker): number {
    const { clock } = this.#init.ports;
    const interval = this.#init.options.monitorIntervalMs;
    const now = clock.monotonic();
    if (this.#session.pages > 0 && !this.#publisher.running) {
      const ready = this.#pace.readyIn(now);
      return clampWait(Math.min(ready, this.#untilThreshold()), interval);
    }
    if (this.#foundFrames) {
      const soon = Math.max(this.#pace.readyIn(now), WAIT_MS_MIN);
      return clampWait(Math.min(soon, this.#untilThreshold()), interval);
    }
    if (this.#session.capture.unregistered) return clampWait(this.#untilRegistered(), interval);
    this.#unregisteredTurns = 0;
    if (!waker.isWatching()) {
      waker.arm(this.#session.live.walPath);
      this.#pace.quiet();
      // A commit may have fallen between the last capture and the watch.
      this.#known.note(undefined);
      if (waker.isWatching() && this.#session.capture.hasMore()) return 0;
    }
    return interval;
  }

  /** SQLite registers a commit without touching the WAL: nothing wakes us. It takes microseconds, or an fsync, or for ever. */
  #untilRegistered(): number {
    this.#unregisteredTurns++;
    return WAIT_MS_MIN * 2 ** Math.min(20, Math.floor(this.#unregisteredTurns / 4));
  }

  /** The reader comes back if a failure took it, but what happened in between nobody knows. */
  #requireCustody(): void {
    if (this.#session.live.readerStands) return;
    this.#resumeReader();
    throw new ContinuityLost('read transaction was lost');
  }

  #resumeReader(): void {
    if (this.#session.live.resumeReader()) return;
    throw new LitestreamError('ERR_DB_BUSY', 'database is locked (5) (SQLITE_BUSY)', {
      retryable: true,
    });
  }

  /** Continuity broke under a live reader: everything is written again. */
  async restart(why: FullReason): Promise<void> {
    // Owed until it is frozen: what was captured before is dropped, and must not be forgotten if this fails.
    this.#owed = why;
    await this.#publisher.drop();
    this.#resumeReader();
    const full = await this.#session.freezeFull(why);
    this.#owed = undefined;
    if (full !== undefined) this.#begin(full);
  }

  /** The history belongs to somebody else's numbers: local files go, everything is written behind `lastTxid`. */
  async renumber(lastTxid: Txid, why: FullReason): Promise<void> {
    this.#owed = why;
    await this.#publisher.drop();
    await this.#init.files.removeAll();
    this.#publisher.setLastTxid(lastTxid, 0);
    await this.restart(why);
    await this.#publisher.settled();
  }

  /**
   * Writes everything captured, then fixes the database's state at that position for a snapshot. No checkpoint runs until
   * {@link SnapshotView.release}. Undefined while there is nothing.
   */
  async view(): Promise<SnapshotView | undefined> {
    this.#requireCustody();
    if (this.#owed !== undefined) await this.restart(this.#owed);
    await this.#flush();
    const transaction = await this.#session.view();
    if (transaction === undefined || this.lastTxid === 0n) return undefined;
    this.#views++;
    let open = true;
    const release = (): void => {
      if (open) this.#views--;
      open = false;
    };
    return { txid: this.lastTxid, pageSize: this.#session.live.pageSize, transaction, release };
  }

  /** Other files are under the paths: writes what was committed to those that are open here. @throws ContinuityLost, LitestreamError */
  captureLast(): Promise<void> {
    return this.#owing(async () => {
      this.#requireCustody();
      if (this.#owed !== undefined) throw new ContinuityLost(this.#owed.reason);
      await captureLast(this.#session);
      await this.#flush();
    });
  }

  /** Ends with a file that the next start can go on from, and closes the database; its WAL stays. */
  async close(): Promise<void> {
    try {
      await this.#publisher.settled();
      if (this.#owed === undefined && restartedUnseen(this.#session)) {
        await this.pass(true, AbortSignal.abort());
      }
    } catch {
      // Said already, or at the next start, for which the frames stay in the WAL.
    }
    await this.#session.live.close();
  }

  async #capture(): Promise<Captured> {
    const { clock } = this.#init.ports;
    const limitBytes = this.#init.options.maxSyncWalBytes;
    let frames = 0;
    for (;;) {
      const captured = await this.#session.captureNow({ limitBytes, gather: false, yields: true });
      frames += captured.frames;
      if (captured.end) {
        this.#noteRate(frames, clock.monotonic());
        return { frames, end: true };
      }
      await this.#flush();
    }
  }

  /** Frames of checkpoints' own captures count, too: right after one there is often nothing new for a moment. */
  #noteRate(frames: number, now: number): void {
    this.#foundFrames = frames > 0;
    if (frames > 0) this.#busyAt = now;
    if (frames >= BURST_FRAMES) this.#session.live.prepareBulk();
    if (this.#session.pages > 0) this.#pendingSince ??= now;
    this.#rate.note(this.#session.framesTotal, now);
  }

  /** Milliseconds until a checkpoint will be due at the present rate. */
  #untilThreshold(): number {
    const left = this.#init.options.minCheckpointPages - this.#checkpointer.pending(this.#session);
    return Math.max(WAIT_MS_MIN, this.#rate.msUntil(left));
  }

  async #publish(force: boolean): Promise<void> {
    if (force) {
      await this.#flush();
      return;
    }
    if (this.#publisher.busy || this.#session.pages === 0) return;
    const { clock } = this.#init.ports;
    const due = this.#session.memoryFull || this.#pace.readyIn(clock.monotonic()) <= 0;
    const next = due ? this.#session.freeze() : undefined;
    if (next !== undefined) this.#begin(next);
  }

  /** Writes everything captured, and waits for it. */
  async #flush(): Promise<void> {
    for (;;) {
      this.#publisher.retry();
      await this.#publisher.settled();
      const next = this.#session.freeze();
      if (next === undefined) return;
      this.#begin(next);
    }
  }

  #begin(transaction: Transaction): void {
    const { clock } = this.#init.ports;
    if (transaction.full !== undefined && transaction.full.reason !== '') {
      const { level, reason } = transaction.full;
      this.#init.logger.log(level, 'writing the whole database', {
        txid: this.#publisher.lastTxid + 1n,
        reason,
      });
    }
    this.#init.activity.writing(transaction.range.size, transaction.full?.reason);
    this.#frozenSince ??= this.#pendingSince ?? clock.monotonic();
    this.#pendingSince = undefined;
    this.#pace.take(clock.monotonic());
    this.#publisher.start(transaction, this.#session.live.pageSize);
  }

  #published(txid: Txid, transaction: Transaction, published: Published): void {
    this.#frozenSince = undefined;
    const { logger, options, ports } = this.#init;
    const { offset, size } = transaction.range;
    this.#init.activity.wrote(txid, offset + size);
    logger.log('debug', 'sync', {
      txid,
      offset,
      ...(transaction.full === undefined ? {} : { snap: true, reason: transaction.full.reason }),
      size: published.size,
      pages: published.pages,
    });
    const labels = { db: options.path };
    ports.metrics.set('litestream_txid', labels, Number(txid));
    ports.metrics.set('litestream_wal_size', labels, offset + size);
    ports.metrics.add('litestream_total_wal_bytes', labels, size);
    this.#init.onPublished(txid, transaction.full?.breaksHistory === true);
  }

  async #checkpoint(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#init.ports;
    const { options } = this.#init;
    const pending = this.#checkpointer.pending(this.#session);
    if (this.#views > 0) {
      if (pending >= options.minCheckpointPages) this.#schedule.held(clock.monotonic());
      this.#alarm(pending, 'wal cannot be checkpointed while a snapshot is being read');
      return;
    }
    if (!this.#schedule.due(pending, clock.monotonic())) return;
    this.#init.activity.checkpointing('PASSIVE');
    const outcome = await this.#meter.run('PASSIVE', () =>
      this.#checkpointer.run(this.#session, signal),
    );
    const left = this.#checkpointer.pending(this.#session);
    this.#schedule.note(outcome, left, clock.monotonic());
    if (outcome === 'complete') {
      await truncateOutsized(this.#session.live, options.truncatePages, {
        logger,
        meter: this.#meter,
      });
    }
    this.#alarm(left, 'wal cannot be checkpointed, a long-running reader may hold it');
  }

  /** Says that the WAL grows, and why. */
  #alarm(pages: number, message: string): void {
    const grown = this.#schedule.alarm(pages);
    if (grown === undefined) return;
    const { logger, options } = this.#init;
    logger.log('warn', message, {
      db: options.path,
      pages,
      threshold: options.minCheckpointPages,
      since: new DurationValue(grown.sinceMs),
    });
  }

  async #closeSpares(): Promise<void> {
    const { live } = this.#session;
    if (!live.hasSpares) return;
    if (this.#init.ports.clock.monotonic() - this.#busyAt < SPARES_IDLE_MS) return;
    await live.closeSpares();
  }
}

function clampWait(ms: number, interval: number): number {
  return Math.min(interval, Math.max(WAIT_MS_MIN, ms));
}
