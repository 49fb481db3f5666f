import { basename } from 'node:path';
import type { EncodePool } from '../../codec/index.ts';
import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import { abortError, isAborted, sleep } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import { Mutex } from '../../lib/mutex.ts';
import { identify, type CheckpointWorker } from '../../sqlite/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import { FailureLog } from '../failure-log.ts';
import type { DatabaseOptions, Ports } from '../options.ts';
import { findHoles, Replica, type ReplicaHistory } from '../replica/replica.ts';
import { Activity, type ActivityReport } from './activity.ts';
import { CaptureLoop, type SnapshotView } from './capture-loop.ts';
import { LocalFiles, ownershipOf } from './local-files.ts';
import { MetaLock } from './meta-lock.ts';
import { PassMetrics } from './pass-metrics.ts';
import { PublishTimes } from './publish-times.ts';
import { openSession } from './opener.ts';
import { ContinuityLost } from './continuity-lost.ts';
import { withRefusedPaths } from './refused-paths.ts';
import type { FullReason } from './transaction.ts';
import { Waker } from './waker.ts';

/** How often the file of a database that does not exist yet is looked for, at least. */
const MISSING_POLL_MS_MAX = 1000;
/** A monitor that has not completed a turn for so much longer than its interval is not keeping up. */
const TURN_SLACK_MS = 1000;
/** How often one sync may find that everything has to be written again. */
const RESTARTS_MAX = 3;

export interface DatabaseInit {
  readonly options: DatabaseOptions;
  readonly ports: Ports;
  readonly worker: CheckpointWorker;
  /** Threads for large files; without it they are written on this one. */
  readonly pool?: EncodePool | undefined;
  /** With the store's attributes. */
  readonly logger: Logger;
}

/** What is known of the capture side without waiting. Ages are milliseconds. */
export interface DatabaseFacts {
  readonly txid: Txid;
  /** Since it was started. */
  readonly openMs: number;
  /** Age of the oldest committed frames that are in no local file, as far as is known. */
  readonly uncapturedMs: number;
  /** Failures of the monitor in a row, and the last one. */
  readonly consecutiveErrors: number;
  readonly error: string | undefined;
  readonly activity: ActivityReport;
}

/**
 * One database: follows its WAL into the local files, and lets each replica upload them.
 *
 * All work on the capture side runs under one lock with a FIFO queue. Nothing here waits for a replica, except the choice of the
 * first TXID, for a second at most. See DESIGN.md.
 */
export class Database {
  readonly options: DatabaseOptions;
  readonly files: LocalFiles;
  readonly replicas: readonly Replica[];
  readonly #ports: Ports;
  readonly #worker: CheckpointWorker;
  readonly #pool: EncodePool | undefined;
  readonly #logger: Logger;
  readonly #failures: FailureLog;
  readonly #executor = new Mutex();
  readonly #activity: Activity;
  readonly #waker: Waker;
  readonly #lock: MetaLock;
  readonly #stop = new AbortController();
  readonly #started: Promise<void>;
  #markStarted: () => void = () => undefined;
  #loop: Promise<void> | undefined;
  #capture: CaptureLoop | undefined;
  /** Why the next session has to begin with a full transaction, whatever it could prove. */
  #broken: FullReason | undefined;
  #heard: ReadonlySet<Replica> = new Set();
  #startedBlank = false;
  /** A replica whose history was taken over although it could not be proven to be this database's. */
  #unproven: Replica | undefined;
  /** Newest local TXID of a session that is closed: its files may still have to be uploaded. */
  #lastTxid: Txid = NO_TXID;
  readonly #times = new PublishTimes();
  readonly #meter: PassMetrics;
  /** Monotonic, and wall clock: the start, and the begin of the last turn that reached the end of the WAL. */
  readonly #openedAt: number;
  #capturedAt: number;
  #capturedWallMs: number;
  #epoch = 0;
  #saidMissing = false;
  #cleaned = false;

  constructor(init: DatabaseInit) {
    const { options, ports } = init;
    this.options = options;
    this.#ports = ports;
    this.#meter = new PassMetrics(options.path, ports.metrics, ports.clock);
    this.#openedAt = this.#capturedAt = ports.clock.monotonic();
    this.#capturedWallMs = ports.clock.now();
    this.#activity = new Activity(ports.clock);
    this.#worker = init.worker;
    this.#pool = init.pool;
    this.#logger = init.logger.with({ db: basename(options.path) });
    this.#waker = new Waker(ports.clock);
    this.#lock = new MetaLock(options.metaPath, ports.fileSystem);
    this.files = new LocalFiles(options.metaPath, ports.fileSystem);
    this.replicas = options.replicas.map(
      (replica) => new Replica(replica, this.files, this.#logger, ports),
    );
    this.#failures = new FailureLog({
      logger: this.#logger,
      clock: ports.clock,
      messages: { failed: 'sync error', recovered: 'sync recovered' },
      intervalMs: options.monitorIntervalMs > 0 ? options.monitorIntervalMs : 1000,
    });
    this.#started = new Promise((resolve) => {
      this.#markStarted = resolve;
    });
  }

  /** TXID of the newest durable local file; 0 before the first. */
  get txid(): Txid {
    return this.#capture?.lastTxid ?? this.#lastTxid;
  }

  /** Changes when local history is given up: TXIDs from before stand for something else then. */
  get epoch(): number {
    return this.#epoch;
  }

  /** What is known now. Never waits; looks at the WAL only when the monitor is late. */
  facts(): DatabaseFacts {
    return {
      txid: this.txid,
      openMs: this.#ports.clock.monotonic() - this.#openedAt,
      uncapturedMs: this.#uncapturedMs(),
      consecutiveErrors: this.#failures.count,
      error: this.#failures.lastError,
      activity: this.#activity.report(),
    };
  }

  /** Age of the oldest local transaction that is not known to be in the replica; 0 if there is none. */
  behindMs(replica: Replica): number {
    const position = replica.position ?? NO_TXID;
    if (position >= this.txid) return 0;
    const since = this.#times.firstAbove(position) ?? this.#openedAt;
    const from = replica.position === undefined ? Math.max(since, this.#openedAt) : since;
    return Math.max(0, this.#ports.clock.monotonic() - from);
  }

  /** Starts following the database and uploading. */
  start(): void {
    if (this.options.monitorIntervalMs > 0) this.#loop ??= this.#run(this.#stop.signal);
    for (const replica of this.replicas)
      replica.start((history) => this.#reconcile(replica, history));
  }

  /**
   * Captures everything committed until now into durable local files.
   *
   * @returns the newest TXID; 0 if there is no database, or nothing in it.
   */
  async sync(signal?: AbortSignal): Promise<Txid> {
    await this.#exclusive(() => this.#pass(true), signal);
    return this.txid;
  }

  /**
   * Captures everything committed until now and gives a view of the database at that position, for a snapshot. Undefined if
   * there is no database, or nothing in it. The view has to be released.
   */
  async view(signal?: AbortSignal): Promise<SnapshotView | undefined> {
    return this.#exclusive(async () => {
      await this.#pass(true);
      return this.#capture?.view();
    }, signal);
  }

  /** Uploads everything up to `txid` to one replica. @throws LitestreamError */
  async syncReplica(replica: Replica, txid: Txid, signal?: AbortSignal): Promise<void> {
    await replica.sync(txid, (history) => this.#reconcile(replica, history, signal), signal);
  }

  /** Ends the loops. The database stays open for a last {@link sync}. */
  async stopLoops(): Promise<void> {
    // The replicas first: what they wait for here ends with the next line, and is no failure of theirs.
    const stopped = this.replicas.map((replica) => replica.stop());
    this.#stop.abort(new LitestreamError('ERR_ABORTED', 'context canceled'));
    this.#waker.wake();
    await this.#loop;
    this.#waker.disarm();
    await Promise.all(stopped);
  }

  /** Closes the database; its WAL stays. */
  async release(): Promise<void> {
    // A last sync that was given up may have left a look at a store that does not answer.
    await Promise.all(this.replicas.map((replica) => replica.stop()));
    await this.#executor.run(async () => {
      await this.#closeSession();
      await this.#lock.release();
    });
  }

  /** Runs `body` alone; the time it waits for that is reported. */
  async #exclusive<T>(body: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const waited = this.#activity.wait();
    try {
      return await this.#executor.run(() => {
        waited();
        return body();
      }, signal);
    } finally {
      waited();
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#executor.run(() => this.#pass(false), signal);
        this.#failures.succeeded();
        await this.#waker.wait(this.#capture?.nextWaitMs(this.#waker) ?? this.#missingPollMs());
      } catch (error) {
        if (isAborted(signal)) return;
        await this.#backOff(error, signal);
      }
    }
  }

  async #backOff(error: unknown, signal: AbortSignal): Promise<void> {
    try {
      await sleep(this.#ports.clock, this.#failures.failed(error), signal);
    } catch {
      // Stopped: the loop sees the signal.
    }
  }

  #uncapturedMs(): number {
    const now = this.#ports.clock.monotonic();
    const pendingSince = this.#capture?.pendingSince;
    if (pendingSince !== undefined) return now - pendingSince;
    const turnMs = 2 * this.options.monitorIntervalMs + TURN_SLACK_MS;
    if (this.#loop === undefined || now - this.#capturedAt < turnMs) return 0;
    // The monitor is late. Nothing is missing unless something has changed since it last came round.
    const changedNs = changedAt(this.#capture?.walPath ?? this.options.path);
    if (changedNs === undefined) return 0;
    const seenNs = BigInt(Math.floor(this.#capturedWallMs)) * 1_000_000n;
    return this.#capture === undefined || changedNs > seenNs ? now - this.#capturedAt : 0;
  }

  #missingPollMs(): number {
    return Math.min(this.options.monitorIntervalMs, MISSING_POLL_MS_MAX);
  }

  /** One turn, and when it began. Runs under the executor. */
  async #pass(force: boolean): Promise<void> {
    const { clock } = this.#ports;
    const [beganAt, beganWallMs] = [clock.monotonic(), clock.now()];
    await this.#meter.run(
      () => this.#activity.turn(() => this.#turn(force)),
      () => ({
        txid: this.txid,
        walSize: this.#capture?.syncedWalSize,
        databaseSize: this.#capture?.databaseSize,
      }),
    );
    this.#capturedAt = beganAt;
    this.#capturedWallMs = beganWallMs;
  }

  /** Open if necessary, capture, publish, checkpoint. */
  async #turn(force: boolean): Promise<void> {
    const capture = this.#capture ?? (await this.#open());
    if (capture === undefined) return;
    const replacement = capture.replacement();
    if (replacement !== undefined) {
      await this.#replaced(replacement);
      if (force) await this.#capture?.pass(true, this.#stop.signal);
      return;
    }
    for (let attempt = 1; ; attempt++) {
      try {
        await capture.pass(force, this.#stop.signal);
        return;
      } catch (error) {
        if (isLitestreamError(error, 'ERR_DB_READONLY')) {
          throw await withRefusedPaths(this.options.path, this.#ports.fileSystem, error);
        }
        if (!(error instanceof ContinuityLost) || attempt === RESTARTS_MAX) throw error;
        await capture.restart({ reason: error.reason, level: 'warn' });
        if (!force) return;
      }
    }
  }

  /** Another file is under the path: the open one and everything known of it are history. */
  async #replaced(reason: string): Promise<void> {
    this.#logger.log('warn', 'database files were replaced, starting over', { reason });
    this.#broken = { reason, level: 'warn' };
    await this.#closeSession();
    await this.#open();
  }

  async #open(): Promise<CaptureLoop | undefined> {
    const { options, files } = this;
    const { fileSystem } = this.#ports;
    if (identify(options.path) === undefined) {
      this.#sayMissing();
      return undefined;
    }
    this.#activity.enter('verify');
    const ownership = await ownershipOf(fileSystem, options.path);
    files.setOwnership(ownership);
    await this.#lock.acquire(options.metaPath, ownership);
    if (!this.#cleaned) await files.removeTemporary();
    this.#cleaned = true;
    const opened = await this.#openSession();
    this.#heard = opened.start.heard;
    this.#startedBlank = opened.start.lastTxid === 0n;
    this.#unproven = opened.first === undefined ? undefined : opened.start.adopted;
    this.#broken = undefined;
    const capture = new CaptureLoop({
      options,
      ports: this.#ports,
      files,
      logger: this.#logger,
      activity: this.#activity,
      session: opened.session,
      pool: this.#pool,
      lastTxid: opened.start.lastTxid,
      timestampMs: opened.timestampMs,
      onPublished: (txid, breaksHistory) => this.#announce(txid, breaksHistory),
    });
    this.#capture = capture;
    if (opened.first !== undefined) capture.publishFirst(opened.first);
    this.#markStarted();
    return capture;
  }

  #sayMissing(): void {
    if (this.#saidMissing) return;
    this.#saidMissing = true;
    this.#logger.log('debug', 'sync: no database found');
    this.#logger.log('warn', 'database does not exist, waiting for it', {
      path: this.options.path,
      hint: 'check the path if the application has made its database already',
    });
  }

  async #openSession(): ReturnType<typeof openSession> {
    const init = {
      options: this.options,
      ports: this.#ports,
      files: this.files,
      replicas: this.replicas,
      worker: this.#worker,
      logger: this.#logger,
      // A final sync opens the database although the loops have been told to stop.
      signal: new AbortController().signal,
      broken: this.#broken,
    };
    try {
      return await openSession(init);
    } catch (error) {
      if (!this.#recoverable(error)) throw error;
      this.#logger.log('warn', 'auto-recovery enabled, resetting local state', {
        error: error instanceof Error ? error : String(error),
      });
      this.#epoch++;
      await this.files.removeAll();
      for (const replica of this.replicas) replica.forget();
      const opened = await openSession(init);
      this.#logger.log('info', 'auto-recovery complete, resuming replication');
      return opened;
    }
  }

  /** Missing or damaged local state, and the user wants it to be replaced. Never a passing error of the system. */
  #recoverable(error: unknown): boolean {
    const damaged =
      isLitestreamError(error, 'ERR_LTX_CORRUPTED') || isLitestreamError(error, 'ERR_LTX_MISSING');
    return damaged && this.options.replicas.some((replica) => replica.autoRecover);
  }

  #announce(txid: Txid, breaksHistory: boolean): void {
    this.#times.note(txid, this.#ports.clock.monotonic());
    this.#times.trim(this.#commonPosition());
    for (const replica of this.replicas) {
      if (breaksHistory) replica.breakHistory(txid);
      replica.notify(txid);
    }
    this.#waker.wake();
  }

  #commonPosition(): bigint {
    let common: bigint | undefined;
    for (const { position = NO_TXID } of this.replicas) {
      if (common === undefined || position < common) common = position;
    }
    return common ?? 0n;
  }

  /** Notes how old the first file of an earlier run is that a replica lacks. */
  async #noteBacklog(after: Txid, local: readonly Txid[]): Promise<void> {
    const first = local.find((txid) => txid > after);
    if (first === undefined) return;
    const { clock, fileSystem } = this.#ports;
    const stat = await fileSystem.stat('l0:stat-backlog', this.files.pathOf(first));
    if (stat === undefined) return;
    this.#times.noteOld(first, clock.monotonic() - Math.max(0, clock.now() - stat.mtimeMs));
  }

  /** Decides, once the history of a replica is known, from where it is uploaded to. */
  async #reconcile(replica: Replica, history: ReplicaHistory, signal?: AbortSignal): Promise<void> {
    await this.#untilStarted();
    await this.#executor.run(async () => {
      const capture = this.#capture;
      // Somebody else may have been faster: the replica has moved on since that history was read.
      if (capture === undefined || replica.position !== undefined) return;
      // Local files of a run that began without knowing this replica's history do not continue it.
      const unknown = !this.#heard.has(replica) && this.#startedBlank && history.lastTxid > 0n;
      const heard = this.#heard.has(replica) && !replica.tookOver;
      const known = heard
        ? true
        : await replica.continues(history, await this.files.list(), signal);
      if (unknown || !known || history.lastTxid > capture.lastTxid) {
        await this.#adopt(capture, replica, history);
      }
      this.#heard = new Set([...this.#heard, replica]);
      const local = await this.files.list();
      const after = history.lastTxid < capture.lastTxid ? history.lastTxid : capture.lastTxid;
      await this.#noteBacklog(after, local);
      replica.begin(after, findHoles(history, local), replica === this.#unproven);
      replica.notify(capture.lastTxid);
    });
  }

  async #adopt(capture: CaptureLoop, replica: Replica, history: ReplicaHistory): Promise<void> {
    this.#logger.log('warn', 'detected database behind replica', {
      db_txid: capture.lastTxid,
      replica_txid: history.lastTxid,
    });
    this.#epoch++;
    // Never below a number that another replica may have already.
    const last = history.lastTxid > capture.lastTxid ? history.lastTxid : capture.lastTxid;
    await capture.renumber(last, {
      reason: 'the replica holds a longer history than the local state',
      level: 'warn',
    });
    this.#startedBlank = false;
    this.#unproven = replica;
  }

  /** Until a session exists, or the loops are stopped. */
  async #untilStarted(): Promise<void> {
    const { signal } = this.#stop;
    if (this.#capture !== undefined) return;
    const stopped = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(abortError(signal)), { once: true });
      if (signal.aborted) reject(abortError(signal));
    });
    await Promise.race([this.#started, stopped]);
  }

  async #closeSession(): Promise<void> {
    const capture = this.#capture;
    this.#capture = undefined;
    if (capture === undefined) return;
    await capture.close();
    this.#lastTxid = capture.lastTxid;
  }
}

/** Change time of a file in nanoseconds; undefined if it is not there or cannot be looked at. */
function changedAt(path: string): bigint | undefined {
  try {
    return identify(path)?.changedNs;
  } catch {
    return undefined;
  }
}
