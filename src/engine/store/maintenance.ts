import { basename } from 'node:path';
import type { EncodePool } from '../../codec/index.ts';
import { compactLevel, type CompactOutcome, type LevelGap } from '../../compaction/index.ts';
import { formatFileName } from '../../formats/ltx/index.ts';
import { isAborted } from '../../lib/clock.ts';
import { errorMessage, LitestreamError } from '../../lib/errors.ts';
import { Mutex } from '../../lib/mutex.ts';
import type { FileInfo } from '../../storage/index.ts';
import type { LogAttributes, Logger } from '../../telemetry/index.ts';
import type { Database } from '../db/database.ts';
import { LineLimit } from '../line-limit.ts';
import { WHOLE_FILE_BYTES_MIN, type Ports, type StoreOptions } from '../options.ts';
import type { BridgeNeed, Replica } from '../replica/replica.ts';
import { contiguityProblem, ReplicaView, SNAPSHOT_LEVEL } from './replica-view.ts';
import { BacklogPatience } from './backlog-patience.ts';
import { RetentionRunner } from './retention.ts';
import { Repair } from './repair.ts';
import { SnapshotWriter, temporaryFiles } from './snapshot-writer.ts';
import { UpkeepAge, type UpkeepObservation } from './upkeep-age.ts';

export interface MaintenanceInit {
  readonly database: Database;
  readonly replica: Replica;
  readonly options: StoreOptions;
  readonly ports: Ports;
  readonly pool: EncodePool;
  /** With the store's attributes. */
  readonly logger: Logger;
  /** Local files up to here are needed by no replica of the database. */
  readonly commonLocalFloor: () => bigint;
}

/** How a pass over one replica ended: all but `done` want another try soon. `behind`: too much would have to be uploaded first. */
export type PassResult = 'done' | 'not-ready' | 'behind' | 'failed';

/**
 * Levels, snapshots and retention of one replica. One piece of work at a time: what a snapshot and a compaction need in memory is
 * never needed at once. Failures are logged here and reported as a {@link PassResult}.
 *
 * Spec: replication 16 to 18, W-8, W-9, W-27, failures CMP-07, CMP-16, CMP-19, CMP-21.
 */
export class ReplicaMaintenance {
  readonly database: Database;
  readonly replica: Replica;
  readonly retention: RetentionRunner;
  readonly #options: StoreOptions;
  readonly #ports: Ports;
  readonly #logger: Logger;
  readonly #failures: LineLimit;
  readonly #lock = new Mutex();
  readonly #stop = new AbortController();
  readonly #view: ReplicaView;
  readonly #snapshots: SnapshotWriter;
  readonly #repair: Repair;
  readonly #patience: BacklogPatience;
  readonly #age: UpkeepAge;
  #snapshotting = false;

  constructor(init: MaintenanceInit) {
    const { database, options, ports, replica } = init;
    this.database = database;
    this.replica = replica;
    this.#options = options;
    this.#ports = ports;
    const name = replica.options.name ?? replica.client.type;
    this.#logger = init.logger.with({
      db: basename(database.options.path),
      ...(database.replicas.length > 1 ? { replica: name } : {}),
    });
    this.#failures = new LineLimit(this.#logger, ports.clock);
    this.#patience = new BacklogPatience(ports.clock);
    this.#age = new UpkeepAge(ports.clock);
    this.#view = new ReplicaView(replica);
    this.retention = new RetentionRunner({
      database,
      replica,
      options,
      ports,
      logger: this.#logger,
      view: this.#view,
      commonLocalFloor: init.commonLocalFloor,
      reportLoss: (gap, signal) => this.#repair.checkLoss(gap, signal),
    });
    this.#snapshots = new SnapshotWriter({
      database,
      replica,
      ports,
      pool: init.pool,
      logger: this.#logger,
      view: this.#view,
      wholeFileBytesMin: this.#wholeFileBytesMin,
    });
    this.#repair = new Repair({
      database,
      replica,
      logger: this.#logger,
      view: this.#view,
      snapshots: this.#snapshots,
      onListed: () => this.retention.forget(),
    });
    replica.setBridge((need, signal) => this.#bridge(need, signal));
  }

  /** True after {@link close}: nothing is begun any more. */
  get isClosed(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Fires with {@link close}. */
  get stopSignal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Aborts what is being done, and waits for it. A bridge is built even later: a last sync may need one. */
  async close(): Promise<void> {
    this.#stop.abort(new LitestreamError('ERR_ABORTED', 'context canceled'));
    await this.#lock.run(() => undefined);
  }

  /** True once there is something in the database, and in the replica. */
  get isReady(): boolean {
    const { hasConflict, position = 0n } = this.replica;
    return this.database.txid > 0n && position > 0n && !hasConflict;
  }

  /** True if the database itself is what is being waited for. */
  get isDatabaseReady(): boolean {
    return this.database.txid > 0n;
  }

  /** The newest file of each level above 0, as far as is known without asking the replica. */
  get newestFiles(): readonly FileInfo[] {
    const files: FileInfo[] = [];
    for (let level = 1; level <= SNAPSHOT_LEVEL; level++) {
      const file = this.#view.newest(level);
      if (file !== undefined) files.push(file);
    }
    return files;
  }

  /** False if a pass over the level would find nothing to do, as far as is known without asking the replica. */
  hasWork(level: number): boolean {
    if (!this.#view.loaded) return true;
    const newest = this.#view.newest(level)?.maxTxid ?? 0n;
    if (level === SNAPSHOT_LEVEL) return this.database.txid > newest;
    return this.#sourceEnd(level) > newest && !this.#isBaseAlone(level);
  }

  /** What there is to do, and for how long, as far as is known without asking the replica. */
  observe(): readonly UpkeepObservation[] {
    return this.#age.observe({
      options: this.#options,
      replica: this.replica,
      view: this.#view,
      isReady: this.isReady,
      // While a snapshot is being written the levels have to wait, however large it is.
      hasWork: (level) => (level === SNAPSHOT_LEVEL || !this.#snapshotting) && this.hasWork(level),
      areSnapshotsDue: () => this.retention.areSnapshotsDue(),
      isLevel0Due: () => !this.#snapshotting && this.retention.isLevel0Due(),
    });
  }

  /** Compacts into one level. */
  async compact(level: number, stop?: AbortSignal): Promise<PassResult> {
    const signal = this.#bounded(stop);
    if (!signal.aborted && !this.#checkReady(level)) return 'not-ready';
    return this.#guarded(level, signal, async () => {
      await this.#view.load(signal);
      if (!this.hasWork(level)) {
        this.#noCompaction(level);
        return;
      }
      let outcome = await this.#compactOnce(level, false, signal);
      const gap = gapOf(outcome);
      if (gap !== undefined && (await this.#repair.checkLoss(gap, signal))) {
        outcome = await this.#compactOnce(level, true, signal);
      }
      if (outcome.kind === 'gap') throw gapError(outcome.gap);
    });
  }

  /** Writes a snapshot if something changed since the last one and none exists since the last boundary. */
  async scheduledSnapshot(
    isTooEarly: (newest: FileInfo) => boolean,
    stop?: AbortSignal,
  ): Promise<PassResult> {
    const signal = this.#bounded(stop);
    if (!signal.aborted && !this.#checkReady(SNAPSHOT_LEVEL)) return 'not-ready';
    if (await this.#patience.isTooFarBehind(this.database, this.replica)) return 'behind';
    return this.#guarded(SNAPSHOT_LEVEL, signal, async () => {
      await this.#view.load(signal);
      const newest = this.#view.newest(SNAPSHOT_LEVEL);
      const early = newest !== undefined && isTooEarly(newest);
      if (early || !this.hasWork(SNAPSHOT_LEVEL)) {
        this.#noCompaction(SNAPSHOT_LEVEL);
        return;
      }
      await this.#writeSnapshot(
        async () => (await this.#snapshots.writeFirst(signal)) ?? this.#snapshots.write({}, signal),
      );
    });
  }

  /** Writes a snapshot of the present state, whether there is one or not. @throws LitestreamError */
  async snapshot(signal?: AbortSignal): Promise<FileInfo> {
    await this.database.syncReplica(this.replica, await this.database.sync(signal), signal);
    return this.#lock.run(async () => {
      await this.#view.load(signal);
      return this.#writeSnapshot(() => this.#snapshots.write({}, signal));
    }, signal);
  }

  async #writeSnapshot(write: () => Promise<FileInfo>): Promise<FileInfo> {
    this.#snapshotting = true;
    try {
      const snapshot = await write();
      this.#patience.reset();
      return snapshot;
    } finally {
      this.#snapshotting = false;
    }
  }

  /** Deletes what has expired at level 0. */
  async enforceLevel0(stop?: AbortSignal): Promise<void> {
    const signal = this.#bounded(stop);
    if (!this.isReady || !this.retention.isLevel0Due()) return;
    try {
      await this.#lock.run(async () => {
        await this.#view.load(signal);
        await this.retention.enforceLevel0(signal);
        this.#age.done('l0 retention', 0);
      }, signal);
    } catch (error) {
      if (isAborted(signal)) return;
      this.#failed('l0 retention enforcement failed', {
        path: this.database.options.path,
        error: errorMessage(error),
      });
    }
  }

  /** Deletes snapshots that have expired, and what only they needed. @throws LitestreamError */
  async enforceRetention(signal?: AbortSignal): Promise<void> {
    await this.#lock.run(async () => {
      await this.#view.load(signal);
      await this.retention.enforceSnapshots(signal);
      this.#age.done('retention', SNAPSHOT_LEVEL);
    }, signal);
  }

  /** The same, with failures in the log. */
  async scheduledRetention(stop?: AbortSignal): Promise<void> {
    const signal = this.#bounded(stop);
    if (!this.isReady) return;
    try {
      await this.enforceRetention(signal);
    } catch (error) {
      if (isAborted(signal)) return;
      const attributes = { error: errorMessage(error) };
      this.#failed('retention enforcement failed', attributes);
    }
  }

  #bounded(signal: AbortSignal | undefined): AbortSignal {
    return signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
  }

  #failed(message: string, attributes: LogAttributes): void {
    const labels = { db: this.database.options.path };
    this.#ports.metrics.add('litestream_upkeep_error_count', labels, 1);
    this.#failures.log('error', message, attributes);
  }

  #checkReady(level: number): boolean {
    if (this.isReady) return true;
    this.#logger.log('debug', 'db not ready, skipping', {
      level,
      path: this.database.options.path,
      error: 'db not ready: page size not initialized',
    });
    return false;
  }

  #noCompaction(level: number): void {
    this.#logger.log('debug', 'no compaction', { level, path: this.database.options.path });
  }

  async #guarded(
    level: number,
    signal: AbortSignal | undefined,
    body: () => Promise<void>,
  ): Promise<PassResult> {
    try {
      await this.#lock.run(body, signal);
      this.#age.done(level === SNAPSHOT_LEVEL ? 'snapshot' : 'compaction', level);
      return 'done';
    } catch (error) {
      if (isAborted(signal)) return 'done';
      this.#failed('compaction failed', { level, error: errorMessage(error) });
      return 'failed';
    }
  }

  get #wholeFileBytesMin(): number {
    return this.#options.wholeFileBytesMin ?? WHOLE_FILE_BYTES_MIN;
  }

  /** All that an empty level could begin with is held by a snapshot. */
  #isBaseAlone(level: number): boolean {
    if (this.#view.newest(level) !== undefined) return false;
    const source = this.#view.newest(level === 1 ? SNAPSHOT_LEVEL : level - 1);
    if (source?.minTxid !== 1n || this.#sourceEnd(level) !== source.maxTxid) return false;
    return this.#isBase(level, source);
  }

  /** Where the source of a level ends, as far as is known. */
  #sourceEnd(level: number): bigint {
    if (level === 1) return this.replica.position ?? 0n;
    return this.#view.newest(level - 1)?.maxTxid ?? 0n;
  }

  async #compactOnce(
    level: number,
    force: boolean,
    signal: AbortSignal | undefined,
  ): Promise<CompactOutcome> {
    const { clock } = this.#ports;
    const expected = this.#sourceEnd(level);
    const newest = this.#view.newest(level);
    const { covered } = this.#view;
    const intervalMs = this.#options.levels.find((known) => known.level === level)?.intervalMs ?? 0;
    let outcome: CompactOutcome;
    try {
      outcome = await compactLevel({
        client: this.replica.client,
        level,
        intervalMs: Math.max(1, intervalMs),
        newest,
        force,
        covered,
        isBase: (file) => this.#isBase(level, file),
        expected: expected > covered ? expected : 0n,
        anchor: level === 1 ? this.retention.anchor(newest?.maxTxid ?? 0n) : undefined,
        isUnusable: (file) => this.#isForeign(file) || this.#view.isUnusable(file),
        onFile: (file) => this.#compacted(file),
        openLocal: (file) => this.database.files.openCopy(file),
        temporary: temporaryFiles(this.database, this.replica, this.#ports),
        clock,
        logger: this.#logger,
        signal,
      });
    } catch (error) {
      await this.#repair.noteDamage(error, signal);
      throw error;
    }
    if (outcome.kind === 'compacted') await this.#afterCompaction(level, signal);
    else this.#noCompaction(level);
    return outcome;
  }

  /**
   * True if a level need not begin with this large file because a snapshot holds it. Level 0 loses only what level 1 or that snapshot
   * holds: for level 1 it has to be the same state.
   */
  #isBase(level: number, { maxTxid, size }: FileInfo): boolean {
    if (size < this.#wholeFileBytesMin) return false;
    if (level === 1) return maxTxid === 1n && this.#view.holdsFirst;
    return maxTxid <= (this.#view.newest(SNAPSHOT_LEVEL)?.maxTxid ?? 0n);
  }

  /** Behind what this replica has acknowledged nothing is ours yet: another writer's files are neither merged nor deleted. */
  #isForeign(file: FileInfo): boolean {
    return file.maxTxid > (this.replica.position ?? 0n);
  }

  #compacted(file: FileInfo): void {
    const { level, maxTxid, minTxid, size } = file;
    this.#view.wrote(file);
    this.retention.noteWritten(file);
    this.#logger.log('info', 'compaction complete', {
      level,
      txid: { min: minTxid, max: maxTxid },
      size,
    });
  }

  async #afterCompaction(level: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#options.verifyCompaction) await this.#verifyLevel(level, signal);
    if (level !== 1 || !this.retention.isLevel0Due()) return;
    try {
      await this.retention.enforceLevel0(signal);
    } catch (error) {
      if (isAborted(signal)) return;
      this.#failed('enforce L0 time retention', { error: errorMessage(error) });
    }
  }

  /** Spec: replication 17.4 step 8. Never fails the compaction. */
  async #verifyLevel(level: number, signal: AbortSignal | undefined): Promise<void> {
    const problem = await contiguityProblem(this.replica.client, level, signal);
    if (problem === undefined) return;
    const logger = this.#logger.with({ subsystem: 'compactor' });
    logger.log('warn', 'post-compaction verification failed', { level, error: problem });
    const labels = { db: this.database.options.path };
    this.#ports.metrics.add('litestream_compaction_verify_error_count', labels, 1);
  }

  /** A local file is gone before this replica had it (W-9), or cannot follow those before it (W-26). */
  async #bridge({ txid, why }: BridgeNeed, signal: AbortSignal | undefined): Promise<void> {
    await this.#lock.run(async () => {
      await this.#view.load(signal);
      const text =
        why === 'files are gone'
          ? 'local files are gone, writing a snapshot instead'
          : 'page size changed, writing a snapshot to restore from';
      this.#logger.log('warn', text, { min_txid: txid, max_txid: this.database.txid });
      if (why === 'page size changed' && (await this.#snapshots.fromFile(txid, signal))) return;
      await this.#snapshots.write({ bridging: true }, signal);
    }, signal);
  }
}

function gapOf(outcome: CompactOutcome): LevelGap | undefined {
  return outcome.kind === 'gap' || outcome.kind === 'compacted' ? outcome.gap : undefined;
}

function gapError(gap: LevelGap): LitestreamError {
  const { from, level, to } = gap;
  return new LitestreamError(
    'ERR_TX_GAP',
    `non-contiguous transaction ids in input files: level ${level} lacks ${formatFileName(from, to)}`,
    { details: { level, minTxid: from, maxTxid: to }, retryable: true },
  );
}
