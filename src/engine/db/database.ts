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
import { Replica, type ReplicaHistory } from '../replica/replica.ts';
import { Activity } from './activity.ts';
import { openRecovering } from './auto-recover.ts';
import { CaptureLoop, type SnapshotView } from './capture-loop.ts';
import type { DatabaseFacts } from './facts.ts';
import { LocalFiles, ownershipOf } from './local-files.ts';
import { localPorts } from './local-ports.ts';
import { MetaLock } from './meta-lock.ts';
import { PassMetrics } from './pass-metrics.ts';
import { PublishTimes } from './publish-times.ts';
import type { OpenerOptions } from './opener.ts';
import { ContinuityLost } from './continuity-lost.ts';
import { commonPosition, Reconciliation } from './reconciliation.ts';
import { withRefusedPaths } from './refused-paths.ts';
import type { FullReason } from './transaction.ts';
import { TurnTimes } from './turn-times.ts';
import { Waker } from './waker.ts';

/** How often the file of a database that does not exist yet is looked for, at least. */
const MISSING_POLL_MS_MAX = 1000;
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
  /** What the last verification found to be wrong in a replica. */
  readonly damage: Map<Replica, string> = new Map();
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
  /** Newest local TXID of a session that is closed: its files may still have to be uploaded. */
  #lastTxid: Txid = NO_TXID;
  readonly #times = new PublishTimes();
  readonly #reconciliation: Reconciliation;
  readonly #meter: PassMetrics;
  readonly #turns: TurnTimes;
  /** True if a turn would have found nothing to do. Never throws: what is wrong is found by the turn itself. */
  readonly #passIdle = (): boolean => {
    const ended = this.#turns.begin();
    try {
      if (this.#executor.held || this.#capture?.isIdle() !== true) return false;
    } catch {
      return false;
    }
    this.#meter.idle();
    ended();
    return true;
  };
  #epoch = 0;
  #saidMissing = false;
  #cleaned = false;

  constructor(init: DatabaseInit) {
    const { options } = init;
    const ports = localPorts(options, init.ports);
    this.options = options;
    this.#ports = ports;
    this.#meter = new PassMetrics(options.path, ports.metrics, ports.clock);
    this.#turns = new TurnTimes(ports.clock);
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
    this.#reconciliation = new Reconciliation({
      files: this.files,
      times: this.#times,
      ports,
      logger: this.#logger,
      onGivenUp: () => void this.#epoch++,
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
      openMs: this.#ports.clock.monotonic() - this.#turns.openedAt,
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
    const since = this.#times.firstAbove(position) ?? this.#turns.openedAt;
    const from = replica.position === undefined ? Math.max(since, this.#turns.openedAt) : since;
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
        await this.#wait();
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
    const pendingSince = this.#capture?.pendingSince;
    if (pendingSince !== undefined) return this.#ports.clock.monotonic() - pendingSince;
    if (this.#loop === undefined) return 0;
    const path = this.#capture?.walPath ?? this.options.path;
    const { monitorIntervalMs } = this.options;
    return this.#turns.unseenMs(path, monitorIntervalMs, this.#capture !== undefined);
  }

  #missingPollMs(): number {
    return Math.min(this.options.monitorIntervalMs, MISSING_POLL_MS_MAX);
  }

  /** Until the next turn is due. One that would have nothing to do is only counted: most databases are idle most of the time. */
  async #wait(): Promise<void> {
    const ms = this.#capture?.nextWaitMs(this.#waker) ?? this.#missingPollMs();
    const isQuiet = this.#capture !== undefined && ms >= this.options.monitorIntervalMs;
    await this.#waker.wait(ms, isQuiet ? this.#passIdle : undefined);
  }

  /** One turn, and when it began. Runs under the executor. */
  async #pass(force: boolean): Promise<void> {
    const ended = this.#turns.begin();
    await this.#meter.run(
      () => this.#activity.turn(() => this.#turn(force)),
      () => ({
        txid: this.txid,
        walSize: this.#capture?.syncedWalSize,
        databaseSize: this.#capture?.databaseSize,
      }),
    );
    ended();
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
    await this.#captureLast();
    await this.#closeSession();
    await this.#open();
  }

  /** The former files are still open: their last commits are restorable if they can be read, and nobody else has them. */
  async #captureLast(): Promise<void> {
    try {
      await this.#capture?.captureLast();
    } catch (error) {
      this.#logger.log('warn', 'last commits before the replacement may be missing', {
        error: error instanceof Error ? error : String(error),
      });
    }
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
    const init: OpenerOptions = {
      options,
      ports: this.#ports,
      files,
      replicas: this.replicas,
      worker: this.#worker,
      logger: this.#logger,
      // A final sync opens the database although the loops have been told to stop.
      signal: new AbortController().signal,
      broken: this.#broken,
    };
    const opened = await openRecovering(init, () => void this.#epoch++);
    this.#reconciliation.begin(opened);
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

  #announce(txid: Txid, breaksHistory: boolean): void {
    this.#times.note(txid, this.#ports.clock.monotonic());
    this.#times.trim(commonPosition(this.replicas));
    for (const replica of this.replicas) {
      if (breaksHistory) replica.breakHistory(txid);
      replica.notify(txid);
    }
    this.#waker.wake();
  }

  /** Decides, once the history of a replica is known, from where it is uploaded to. */
  async #reconcile(replica: Replica, history: ReplicaHistory, signal?: AbortSignal): Promise<void> {
    await this.#untilStarted();
    await this.#executor.run(async () => {
      const capture = this.#capture;
      // Somebody else may have been faster: the replica has moved on since that history was read.
      if (capture === undefined || replica.position !== undefined) return;
      await this.#reconciliation.run(capture, replica, { history, signal });
    });
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
