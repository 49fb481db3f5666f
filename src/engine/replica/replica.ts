import { formatTxid, NO_TXID, toTxid, type Txid } from '../../formats/ltx/index.ts';
import { unlessAborted } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { Mutex } from '../../lib/mutex.ts';
import type { FileInfo, FileKey, ReplicaClient, WriteSource } from '../../storage/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { LocalFiles } from '../db/local-files.ts';
import type { Ports, ReplicaOptions } from '../options.ts';
import { type BridgeNeed, FileUploads } from './file-uploads.ts';
import { readHistory, type ReplicaHistory } from './history.ts';
import { endsAlike, sharesHistory } from './two-writers.ts';
import { UploadLoop } from './upload-loop.ts';
import { WriterGuard } from './writer-guard.ts';

/** Bound of the first look at a replica: ten listings. */
const CONTACT_MS_MAX = 120_000;
/** How long a history that was taken over is watched for its writer, at least. */
const PROBATION_MS_MIN = 2000;

export { findHoles, type ReplicaHistory } from './history.ts';

export type { BridgeNeed } from './file-uploads.ts';

/**
 * Makes the replica restorable behind a hole: a snapshot, by {@link Replica.skipTo}. Called without the upload turn, which it takes
 * itself.
 */
export type Bridge = (need: BridgeNeed, signal: AbortSignal | undefined) => Promise<void>;

/** What one turn uploads. */
interface Batch {
  /** So many files at most; 0 = no limit. */
  readonly limit?: number;
  /** No further than this TXID; absent = as far as there is something. */
  readonly until?: Txid;
}

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
  /** Once it has found another writer nothing is uploaded until a restart. */
  readonly #guard: WriterGuard;
  readonly #loop: UploadLoop;
  #running: Promise<void> | undefined;
  #bridge: Bridge | undefined;
  readonly #uploads: FileUploads;
  #onProgress: (() => void) | undefined;
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
    this.#guard = new WriterGuard(options.client, ports.clock);
    const { client } = options;
    this.#uploads = new FileUploads({ files, client, guard: this.#guard, logger: this.#logger });
    this.#loop = new UploadLoop(options, ports.clock, this.#logger);
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
    return this.#guard.conflict !== undefined;
  }

  /** Failures of the upload loop in a row, and the last one. */
  get failure(): { readonly consecutiveErrors: number; readonly error: string | undefined } {
    return this.#loop.failure;
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
  uploadAgain(txids: readonly Txid[], signal?: AbortSignal): Promise<FileInfo[]> {
    return this.#uploads.again(txids, signal);
  }

  /** True unless the replica's history is another one than that of the local files. */
  async continues(
    history: ReplicaHistory,
    local: readonly Txid[],
    signal?: AbortSignal,
  ): Promise<boolean> {
    const stop = this.#contactStop.signal;
    const bound = signal === undefined ? stop : AbortSignal.any([stop, signal]);
    const newest = history.newest.get(0);
    if (newest !== undefined && this.#files.isMerged(newest.maxTxid)) {
      const header = await this.#files.header(newest.maxTxid);
      return endsAlike(this.client, newest, header, bound);
    }
    return sharesHistory({
      client: this.client,
      stored: history.level0,
      // A merged file has no counterpart that it could be compared with.
      local: local.filter((txid) => !this.#files.isMerged(txid)),
      headerOf: (txid) => this.#files.header(txid),
      signal: bound,
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
    this.#loop.wake();
    this.#onProgress?.();
  }

  /** File `txid` cannot be merged with those before it: a snapshot has to be there first, to restore from. */
  breakHistory(txid: Txid): void {
    this.#uploads.breakAt(txid);
  }

  /** Tells that a newer local file exists. */
  notify(txid: Txid): void {
    this.#target = txid;
    this.#loop.wake();
  }

  /** Starts the upload loop. `reconcile` is called once the history is known and must end in {@link begin}. */
  start(reconcile: (history: ReplicaHistory) => Promise<void>): void {
    const { signal } = this.#stop;
    this.#running ??= this.#loop.run({
      attempt: () => this.#attempt(reconcile, signal),
      isBehind: () => this.#behind,
      signal,
    });
  }

  /** Ends the loop; an upload in flight is aborted. */
  async stop(): Promise<void> {
    const reason = new LitestreamError('ERR_ABORTED', 'context canceled');
    this.#stop.abort(reason);
    // A last sync may look at the replica again.
    this.#contactStop.abort(reason);
    this.#contactStop = new AbortController();
    this.#loop.wake();
    await this.#running;
    this.#running = undefined;
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
    await this.#uploadBatch({ until: target }, signal);
  }

  /**
   * Uploads everything up to `txid`, or tells what is in the way: for a snapshot, which must not be ahead of the replica.
   *
   * @throws LitestreamError of the store, or `ERR_WRITER_CONFLICT`
   */
  reach(txid: Txid, signal?: AbortSignal): Promise<BridgeNeed | undefined> {
    if (this.#target < txid) this.#target = txid;
    return this.#turn.run(() => this.#upload({ until: txid }, signal), signal);
  }

  /**
   * Goes on behind files that are gone: `write` stores a snapshot up to `txid`, under a name that must not exist, unless another writer
   * has used numbers behind the position.
   *
   * @throws LitestreamError of the store, or `ERR_WRITER_CONFLICT`; then the snapshot counts as not written
   */
  async skipTo(
    txid: Txid,
    snapshot: { readonly key: FileKey; readonly source: WriteSource },
    signal?: AbortSignal,
  ): Promise<FileInfo> {
    return this.#turn.run(async () => {
      const position = this.#position ?? NO_TXID;
      await this.#guard.lookEverywhere(position, signal);
      const { key, source } = snapshot;
      if (txid <= position) return this.client.write(key, source, { signal });
      // Level 0 ends with the position, and nobody else gets that number.
      const claim = async (): Promise<FileInfo | undefined> =>
        (await this.uploadAgain([txid], signal))[0];
      const { claimed, file } = await this.#guard.writeAhead(snapshot, claim, signal);
      this.#position = txid;
      this.level0From = claimed === undefined ? txid + 1n : txid;
      this.#uploads.skipTo(txid);
      this.#onProgress?.();
      return file;
    }, signal);
  }

  /** Looks whether level 0 holds this database's file `txid`, if both have it. @throws LitestreamError `ERR_WRITER_CONFLICT` */
  async proveOwn(txid: Txid, signal?: AbortSignal): Promise<void> {
    const local = (await this.#files.list()).filter(
      (found) => found === txid && !this.#files.isMerged(found),
    );
    const own = await sharesHistory({
      client: this.client,
      stored: [txid],
      local,
      headerOf: (found) => this.#files.header(found),
      signal,
    });
    if (!own) await this.#guard.fail(txid);
  }

  /** Looks whether another writer has gone on behind the position. @throws LitestreamError `ERR_WRITER_CONFLICT` */
  async lookForWriter(signal?: AbortSignal): Promise<void> {
    await this.#turn.run(async () => {
      if (this.#position !== undefined) await this.#guard.lookEverywhere(this.#position, signal);
    }, signal);
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
      const signal = AbortSignal.any([this.#contactStop.signal, bound.signal]);
      this.#history = await readHistory(this.client, signal);
      this.#guard.proven();
      return this.#history;
    } finally {
      timer.cancel();
    }
  }

  async #attempt(
    reconcile: (history: ReplicaHistory) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#position === undefined) await this.#begin(reconcile, signal);
    await this.#uploadBatch({ limit: this.options.maxSyncLtxFiles }, signal);
  }

  get #behind(): boolean {
    return this.#position !== undefined && this.#position < this.#target;
  }

  /** One batch, and what has to be bridged on the way. */
  async #uploadBatch(batch: Batch, signal: AbortSignal | undefined): Promise<void> {
    let last: Txid | undefined;
    for (;;) {
      const need = await this.#turn.run(() => this.#upload(batch, signal), signal);
      if (need === undefined) return;
      if (this.#bridge === undefined || need.txid === last) throw need.cause;
      last = need.txid;
      await this.#bridge(need, signal);
    }
  }

  /** Under the turn. Returns what has to be bridged before the upload can go on. */
  async #upload(
    { limit = 0, until }: Batch,
    signal: AbortSignal | undefined,
  ): Promise<BridgeNeed | undefined> {
    const position = this.#position;
    if (position === undefined) return undefined;
    await this.#beforeUpload(position, signal);
    await this.uploadAgain(this.#holes, signal);
    this.#holes = [];
    let files = 0;
    let need: BridgeNeed | undefined;
    // What comes while it uploads is not waited for.
    const isReached = (): boolean => until !== undefined && (this.#position ?? NO_TXID) >= until;
    while (need === undefined && this.#behind && (limit <= 0 || files < limit) && !isReached()) {
      const next = toTxid((this.#position ?? NO_TXID) + 1n);
      const bridged = this.#bridge !== undefined;
      const done = await this.#uploads.next(next, { stored: this.#newestStored, bridged }, signal);
      if (typeof done === 'bigint') {
        this.#position = done;
        files++;
        this.#onProgress?.();
      } else need = done;
    }
    if (need === undefined) this.lastSyncAt = this.#ports.clock.now();
    if (files > 0) this.#noteBatch(files, limit > 0 && files >= limit);
    return need;
  }

  async #beforeUpload(position: Txid, signal: AbortSignal | undefined): Promise<void> {
    this.#guard.check();
    if (this.#target > 0n) {
      this.#logger.log('debug', 'replica sync', {
        txid: { replica: formatTxid(position), db: formatTxid(this.#target) },
      });
    }
    if (position >= this.#target) return;
    if (this.#probation) {
      const waitMs = Math.max(PROBATION_MS_MIN, 2 * this.options.syncIntervalMs);
      await this.#guard.watch(position, waitMs, signal);
      this.#probation = false;
    }
    await this.#guard.beforeUpload(position, signal);
  }

  #noteBatch(files: number, limited: boolean): void {
    const position = this.#position ?? NO_TXID;
    this.#loop.noteBatch();
    if (limited) {
      this.#logger.log('debug', 'replica sync limited', {
        synced_files: files,
        db_txid: this.#target,
        replica_txid: position,
      });
    }
    this.#logger.log('debug', 'sync complete', { txid: position, files });
  }

  /** The newest file that the first look found. */
  get #newestStored(): FileInfo | undefined {
    const { lastTxid, newest } = this.#history ?? {};
    return [...(newest?.values() ?? [])].find(({ maxTxid }) => maxTxid === lastTxid);
  }
}
