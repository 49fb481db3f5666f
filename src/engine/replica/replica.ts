import { formatTxid, NO_TXID, toTxid, type Txid } from '../../formats/ltx/index.ts';
import { isAborted, sleep, type TimerHandle, unlessAborted } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import { Mutex } from '../../lib/mutex.ts';
import type { FileInfo, FileKey, ReplicaClient, WriteSource } from '../../storage/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { LocalFiles, TxidRange } from '../db/local-files.ts';
import { FailureLog } from '../failure-log.ts';
import type { Ports, ReplicaOptions } from '../options.ts';
import { sameContent, sharesHistory, writerConflict } from './two-writers.ts';

const LEVEL_MAX = 9;
/** Bound of the first look at a replica: ten listings. */
const CONTACT_MS_MAX = 120_000;
/** How long a history that was taken over is watched for its writer, at least. */
const PROBATION_MS_MIN = 2000;

/** What the first look at a replica found. */
export interface ReplicaHistory {
  /** Highest TXID over all levels; 0 = the replica is empty. */
  readonly lastTxid: Txid;
  /** Highest TXID above level 0. */
  readonly lastCompacted: Txid;
  /** TXIDs of the level-0 files, ascending. */
  readonly level0: readonly Txid[];
  /** The newest file of each level that has one. */
  readonly newest: ReadonlyMap<number, FileInfo>;
}

/**
 * Called when a file that must be uploaded next is not there any more: makes the replica restorable at a later position by other means
 * and returns that position.
 */
export type Bridge = (
  txid: Txid,
  why: 'files are gone' | 'page size changed',
  signal: AbortSignal | undefined,
) => Promise<Txid>;

/**
 * One destination of a database: its own position, upload loop and failures. The local level-0 files are its only queue;
 * nothing of it ever blocks the capture or another replica.
 *
 * Files go up in TXID order; the position advances only when the store has acknowledged.
 */
export class Replica {
  readonly options: ReplicaOptions;
  readonly #ports: Ports;
  readonly #files: LocalFiles;
  readonly #logger: Logger;
  readonly #failures: FailureLog;
  readonly #turn = new Mutex();
  readonly #stop = new AbortController();
  #history: ReplicaHistory | undefined;
  #contact: Promise<ReplicaHistory> | undefined;
  /** Ends a contact, whoever asked for it. */
  #contactStop = new AbortController();
  #position: Txid | undefined;
  #target: Txid = NO_TXID;
  #holes: readonly Txid[] = [];
  /** The history was taken over without proof that it is ours: is its writer still alive? */
  #probation = false;
  /** Another program writes here: nothing is uploaded until a restart. */
  #conflict: LitestreamError | undefined;
  #wake: (() => void) | undefined;
  #loop: Promise<void> | undefined;
  #bridge: Bridge | undefined;
  #snapshotBehind: Txid | undefined;
  #onProgress: (() => void) | undefined;
  #lastBatchAt = -Infinity;
  /** Level 0 holds every TXID from here to the position, apart from what was deleted since. */
  level0From: bigint = 1n;
  /** The lease became ours after the replica was first looked at: another process may have gone on with the same numbers. */
  tookOver = false;
  /** Wall-clock milliseconds of the last pass that reached the end, or made progress. */
  lastSyncAt: number | undefined;

  constructor(options: ReplicaOptions, files: LocalFiles, logger: Logger, ports: Ports) {
    this.options = options;
    this.#ports = ports;
    this.#files = files;
    this.#logger = logger.with({ replica: options.name ?? options.client.type });
    this.#failures = new FailureLog({
      logger: this.#logger,
      clock: ports.clock,
      messages: {
        failed: 'monitor error',
        recovered: 'replica sync recovered',
        resumed: 'stream resumed',
      },
      intervalMs: options.syncIntervalMs,
    });
  }

  get client(): ReplicaClient {
    return this.options.client;
  }

  /** TXID up to which the replica holds everything; undefined before the first contact. */
  get position(): Txid | undefined {
    return this.#position;
  }

  /**
   * What is in the replica, by one listing of each level. Later calls return the first answer; a signal ends the caller's wait
   * only.
   */
  history(signal?: AbortSignal): Promise<ReplicaHistory> {
    this.#contact ??= this.#boundedLook().catch((error: unknown) => {
      this.#contact = undefined;
      throw error;
    });
    return unlessAborted(this.#contact, signal);
  }

  /** Another writer was found: nothing more is written to this replica, or deleted from it. */
  get hasConflict(): boolean {
    return this.#conflict !== undefined;
  }

  /** Failures of the upload loop in a row, and the last one. */
  get failure(): { readonly consecutiveErrors: number; readonly error: string | undefined } {
    return { consecutiveErrors: this.#failures.count, error: this.#failures.lastError };
  }

  /** The history, if it is known already. */
  get knownHistory(): ReplicaHistory | undefined {
    return this.#history;
  }

  /** Sets whom to tell when the position has become known or has changed. */
  onProgress(listener: () => void): void {
    this.#onProgress = listener;
  }

  /** Sets what to do about local files that are gone before they were uploaded. */
  setBridge(bridge: Bridge): void {
    this.#bridge = bridge;
  }

  /**
   * Uploads files at or below the position once more, as far as they are still here; returns those that were.
   *
   * @throws LitestreamError of the store
   */
  async uploadAgain(txids: readonly Txid[], signal?: AbortSignal): Promise<FileInfo[]> {
    const uploaded: FileInfo[] = [];
    for (const txid of txids) {
      // What overlaps files that are there already would break the chain for other programs.
      if (this.#files.isMerged(txid)) continue;
      try {
        uploaded.push(await this.#uploadOne({ minTxid: txid, maxTxid: txid }, signal));
      } catch (error) {
        if (!isLitestreamError(error, 'ERR_LTX_MISSING')) throw error;
      }
    }
    return uploaded;
  }

  /** True unless the replica's history is another one than that of the local files. */
  async continues(
    history: ReplicaHistory,
    local: readonly Txid[],
    signal?: AbortSignal,
  ): Promise<boolean> {
    const stop = this.#contactStop.signal;
    return sharesHistory({
      client: this.client,
      stored: history.level0,
      // A merged file has no counterpart that it could be compared with.
      local: local.filter((txid) => !this.#files.isMerged(txid)),
      headerOf: (txid) => this.#files.header(txid),
      signal: signal === undefined ? stop : AbortSignal.any([stop, signal]),
    });
  }

  /** Forgets what is known of the replica: the next pass looks again. */
  forget(): void {
    this.#contact = undefined;
    this.#history = undefined;
    this.#position = undefined;
  }

  /**
   * Opens the upload: `after` is where the replica stands. Files below it that are missing there and exist here are uploaded
   * first. With `probation` the first upload waits and looks whether somebody else goes on writing.
   */
  begin(after: Txid, holes: readonly Txid[], probation = false): void {
    this.#position = after;
    this.level0From = this.#history?.level0.at(-1) === after ? after : after + 1n;
    this.#probation = probation;
    this.#holes = holes;
    this.#wake?.();
    this.#onProgress?.();
  }

  /** File `txid` cannot be merged with those before it: a snapshot has to follow it at once, to restore from. */
  breakHistory(txid: Txid): void {
    this.#snapshotBehind = txid;
  }

  /** Tells that a newer local file exists. */
  notify(txid: Txid): void {
    this.#target = txid;
    this.#wake?.();
  }

  /** Starts the upload loop. `reconcile` is called once the history is known and must end in {@link begin}. */
  start(reconcile: (history: ReplicaHistory) => Promise<void>): void {
    this.#loop ??= this.#run(reconcile, this.#stop.signal);
  }

  /** Ends the loop; an upload in flight is aborted. */
  async stop(): Promise<void> {
    const reason = new LitestreamError('ERR_ABORTED', 'context canceled');
    this.#stop.abort(reason);
    // A last sync may look at the replica again.
    this.#contactStop.abort(reason);
    this.#contactStop = new AbortController();
    this.#wake?.();
    await this.#loop;
    this.#loop = undefined;
  }

  /**
   * Uploads everything up to `target` now.
   *
   * @throws LitestreamError what kept it from doing so
   */
  async sync(
    target: Txid,
    reconcile: (history: ReplicaHistory) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void> {
    if (this.#position === undefined) await this.#begin(reconcile, signal);
    if (this.#target < target) this.#target = target;
    await this.#turn.run(() => this.#upload(0, signal), signal);
  }

  /** Waits for the lease, where there is one; what was seen before it was ours may be old. */
  async #begin(
    reconcile: (history: ReplicaHistory) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if ((await this.client.beginWriting?.({ signal })) === true) {
      this.forget();
      this.tookOver = true;
    }
    await reconcile(await this.history(signal));
  }

  /** A store that accepts and never answers is given up, and asked again. */
  async #boundedLook(): Promise<ReplicaHistory> {
    const bound = new AbortController();
    const timer = this.#ports.clock.timer(CONTACT_MS_MAX, () => {
      const text = `replica ${this.client.location} did not answer in ${CONTACT_MS_MAX / 1000} s`;
      bound.abort(new LitestreamError('ERR_TIMEOUT', text, { retryable: true }));
    });
    try {
      return await this.#look(AbortSignal.any([this.#contactStop.signal, bound.signal]));
    } finally {
      timer.cancel();
    }
  }

  async #look(signal: AbortSignal | undefined): Promise<ReplicaHistory> {
    await this.client.init({ signal });
    const level0: Txid[] = [];
    const newest = new Map<number, FileInfo>();
    let lastCompacted: Txid = NO_TXID;
    for (let level = 0; level <= LEVEL_MAX; level++) {
      for await (const file of this.client.list(level, { signal })) {
        if (file.maxTxid >= (newest.get(level)?.maxTxid ?? NO_TXID)) newest.set(level, file);
        if (level === 0) level0.push(file.maxTxid);
        else if (file.maxTxid > lastCompacted) lastCompacted = file.maxTxid;
      }
    }
    const last0 = level0.at(-1) ?? NO_TXID;
    const lastTxid = last0 > lastCompacted ? last0 : lastCompacted;
    this.#history = { lastTxid, lastCompacted, level0, newest };
    return this.#history;
  }

  async #run(
    reconcile: (history: ReplicaHistory) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#position === undefined) await this.#begin(reconcile, signal);
        await this.#turn.run(() => this.#upload(this.options.maxSyncLtxFiles, signal), signal);
        this.#failures.succeeded();
        if (!this.#behind) await this.#waitForWork(signal);
        await this.#keepSpacing(signal);
      } catch (error) {
        if (isAborted(signal)) return;
        await this.#backOff(error, signal);
      }
    }
  }

  get #behind(): boolean {
    return this.#position !== undefined && this.#position < this.#target;
  }

  async #backOff(error: unknown, signal: AbortSignal): Promise<void> {
    const delayMs = this.#failures.failed(error);
    try {
      await sleep(this.#ports.clock, delayMs, signal);
    } catch {
      // Stopped: the loop sees the signal.
    }
  }

  /** An interval that the user set is the least time between two batches. */
  async #keepSpacing(signal: AbortSignal): Promise<void> {
    if (!this.options.syncIntervalExplicit) return;
    const left = this.#lastBatchAt + this.options.syncIntervalMs - this.#ports.clock.monotonic();
    if (left > 0) await sleep(this.#ports.clock, left, signal);
  }

  /** Until a newer file is announced, at most one interval: then health is recorded again. */
  #waitForWork(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const timer: TimerHandle = this.#ports.clock.timer(
        Math.max(1000, this.options.syncIntervalMs),
        () => {
          done();
        },
      );
      const done = (): void => {
        timer.cancel();
        this.#wake = undefined;
        resolve();
      };
      this.#wake = done;
      if (signal.aborted || this.#behind) done();
    });
  }

  async #upload(limit: number, signal: AbortSignal | undefined): Promise<void> {
    const position = this.#position;
    if (position === undefined) return;
    if (this.#conflict !== undefined) throw this.#conflict;
    if (this.#probation && position < this.#target) await this.#watchForWriter(position, signal);
    if (this.#target > 0n) {
      this.#logger.log('debug', 'replica sync', {
        txid: { replica: formatTxid(position), db: formatTxid(this.#target) },
      });
    }
    await this.uploadAgain(this.#holes, signal);
    this.#holes = [];
    let files = 0;
    for (let txid = position + 1n; txid <= this.#target; txid++) {
      txid = await this.#uploadNext(toTxid(txid), signal);
      this.#position = toTxid(txid);
      this.#onProgress?.();
      files++;
      if (limit > 0 && files >= limit) {
        this.#logger.log('debug', 'replica sync limited', {
          synced_files: files,
          db_txid: this.#target,
          replica_txid: toTxid(txid),
        });
        break;
      }
    }
    this.lastSyncAt = this.#ports.clock.now();
    if (files === 0) return;
    this.#lastBatchAt = this.#ports.clock.monotonic();
    this.#logger.log('debug', 'sync complete', { txid: this.#position ?? NO_TXID, files });
  }

  /** Uploads one file, or what stands in for it if it is gone. Returns the position that the replica has then. */
  async #uploadNext(txid: Txid, signal: AbortSignal | undefined): Promise<Txid> {
    const range = this.#files.rangeOf(txid);
    const { maxTxid } = range;
    try {
      // The first part of a merged file may be there already.
      if (range.minTxid < txid) throw missing(this.#files.pathOf(maxTxid), txid);
      await this.#uploadOne(range, signal);
      const { minTxid } = range;
      const behind = this.#snapshotBehind;
      if (behind === undefined || behind < minTxid || behind > maxTxid) return maxTxid;
      await this.#bridge?.(maxTxid, 'page size changed', signal);
      this.#snapshotBehind = undefined;
      return maxTxid;
    } catch (error) {
      // It was merged with others meanwhile.
      if (this.#files.rangeOf(txid).maxTxid !== maxTxid) return this.#uploadNext(txid, signal);
      if (this.#bridge === undefined || !isLitestreamError(error, 'ERR_LTX_MISSING')) throw error;
      const reached = await this.#bridge(txid, 'files are gone', signal);
      if (reached < txid) throw error;
      // What is still there gives restore points behind the hole, and level 0 its newest file.
      const local = await this.#files.list();
      const rest = local.filter((found) => found > txid && found <= reached);
      await this.uploadAgain(rest, signal);
      this.level0From = reached + 1n;
      return reached;
    }
  }

  /** Never replaces a file: an equal one is ours (an acknowledgement was lost), another one means another writer. */
  async #writeNew(
    key: FileKey,
    source: WriteSource,
    signal: AbortSignal | undefined,
  ): Promise<FileInfo> {
    try {
      return await this.client.write(key, source, { signal, ifAbsent: true });
    } catch (error) {
      if (isLitestreamError(error, 'ERR_LEASE_NOT_HELD')) this.#conflict = error;
      if (!isLitestreamError(error, 'ERR_STORAGE_EXISTS')) throw error;
      const same = await sameContent(this.client, key, source, signal);
      if (same !== undefined) return same;
      this.#conflict = writerConflict(this.client, key.minTxid);
      throw this.#conflict;
    }
  }

  async #watchForWriter(position: Txid, signal: AbortSignal | undefined): Promise<void> {
    await sleep(
      this.#ports.clock,
      Math.max(PROBATION_MS_MIN, 2 * this.options.syncIntervalMs),
      signal,
    );
    const seek = toTxid(position + 1n);
    for await (const file of this.client.list(0, { seek, signal })) {
      this.#conflict = writerConflict(this.client, file.minTxid);
      throw this.#conflict;
    }
    this.#probation = false;
  }

  async #uploadOne(range: TxidRange, signal: AbortSignal | undefined): Promise<FileInfo> {
    const { maxTxid, minTxid } = range;
    const source = await this.#files.source(maxTxid);
    const key = { level: 0, minTxid, maxTxid };
    const info = await this.#writeNew(key, source, signal);
    this.#logger.log('debug', 'ltx file uploaded', {
      level: 0,
      minTXID: minTxid,
      maxTXID: maxTxid,
      size: info.size,
    });
    return info;
  }
}

function missing(path: string, txid: Txid): LitestreamError {
  const text = `ltx file ${path} begins before ${formatTxid(txid)}`;
  return new LitestreamError('ERR_LTX_MISSING', text, { details: { path, txid } });
}

/** Which of the database's own files a replica lacks below its newest one: lost objects, to be uploaded again. */
export function findHoles(history: ReplicaHistory, local: readonly Txid[]): Txid[] {
  const present = new Set<bigint>(history.level0);
  return local.filter(
    (txid) => txid > history.lastCompacted && txid < history.lastTxid && !present.has(txid),
  );
}
