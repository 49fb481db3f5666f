import { dirname } from 'node:path';
import { type LtxHeader, NO_TXID } from '../formats/ltx/index.ts';
import { type Clock, throwIfAborted } from '../lib/clock.ts';
import { isLitestreamError, LitestreamError, wrapError } from '../lib/errors.ts';
import type { FileStat, FileSystem, OpenFile } from '../lib/file-system.ts';
import type { CallOptions, FileInfo, ReplicaClient } from '../storage/index.ts';
import type { Logger } from '../telemetry/index.ts';
import { applyFiles } from './apply.ts';
import { fileName, isDamage } from './damage.ts';
import { DamagedFiles } from './damaged-files.ts';
import { checkOutputPath, sidecarPaths } from './output.ts';
import { type Backup, chooseBackup, planRestore } from './backups.ts';
import type { ReplicaCatalog } from './catalog.ts';
import type { LegacyPlan } from './legacy-plan.ts';
import { warnOfOldSnapshot } from './old-snapshot.ts';
import type { RestorePlan, RestoreTarget } from './plan.ts';
import { isGone } from './source.ts';

const DEFAULT_PARALLELISM = 8;
/** Plans made because a planned file was gone, before that is an error. */
const REPLANS = 3;

/** How far a restore is. Bytes are those of the planned files. */
export interface RestoreProgress {
  readonly phase: 'plan' | 'fetch' | 'sync' | 'check';
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface RestoreOptions extends CallOptions {
  readonly client: ReplicaClient;
  readonly outputPath: string;
  readonly target: RestoreTarget;
  /** What is known of the replica already; the first plan is made from it. Default: the replica is listed. */
  readonly catalog?: ReplicaCatalog | undefined;
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Replaces an existing file and removes its sidecars. Default false. */
  readonly force?: boolean;
  /** Requests at the same time. Default 8. */
  readonly parallelism?: number;
  /** Default `none`. */
  readonly integrityCheck?: 'none' | 'quick' | 'full';
  /**
   * True: the output says rollback-journal mode instead of WAL, before it gets its name, so that no reader of a file that is
   * going to be written from outside ever looks for a WAL. Default false: bit for bit what was replicated.
   */
  readonly rollbackMode?: boolean;
  /** Do without damaged files if the others give the same state, and warn; default false: damage is an error. */
  readonly aroundDamage?: boolean;
  readonly onProgress?: (progress: RestoreProgress) => void;
}

export interface RestoreResult {
  /** What was restored; of the other layout in {@link legacy}, then without files and TXIDs. */
  readonly plan: RestorePlan;
  /** The data of Litestream v0.3.x that was restored, if it was newer than the LTX files. */
  readonly legacy: LegacyPlan | undefined;
  /** Size of the restored database. */
  readonly bytesWritten: number;
  readonly durationMs: number;
}

/** Reports the phases of one restore. */
class Reporter {
  readonly #listener: ((progress: RestoreProgress) => void) | undefined;
  #phase: RestoreProgress['phase'] = 'plan';
  #done = 0;
  #total = 0;

  constructor(listener: ((progress: RestoreProgress) => void) | undefined) {
    this.#listener = listener;
  }

  start(phase: RestoreProgress['phase'], total?: number): void {
    this.#phase = phase;
    if (total !== undefined) {
      this.#total = total;
      this.#done = 0;
    }
    this.add(0);
  }

  readonly add = (bytes: number): void => {
    this.#done += bytes;
    this.#listener?.({ phase: this.#phase, bytesDone: this.#done, bytesTotal: this.#total });
  };
}

/** One restore that has not ended yet. */
class Restore {
  readonly #options: RestoreOptions;
  readonly #signal: AbortSignal;
  readonly #temporary: string;
  readonly #reporter: Reporter;
  #catalog: ReplicaCatalog | undefined;
  /** True: the next plan is made from exact times only. */
  #exact: boolean;
  readonly #damaged = new DamagedFiles();

  constructor(options: RestoreOptions) {
    this.#options = options;
    this.#signal = options.signal ?? new AbortController().signal;
    this.#temporary = `${options.outputPath}.tmp`;
    this.#reporter = new Reporter(options.onProgress);
    this.#catalog = options.catalog;
    this.#exact = options.target.timestampMs === undefined || options.client.timeOf === undefined;
  }

  async run(): Promise<RestoreResult> {
    const { fileSystem, outputPath, force = false, clock } = this.#options;
    const started = clock.monotonic();
    await checkOutputPath(fileSystem, outputPath, force);
    this.#reporter.start('plan');
    let backup = await this.#plan();
    await fileSystem.makeDirectory('restore:mkdir', dirname(outputPath));
    const output = await fileSystem.open('restore:create', this.#temporary, 'create');
    let bytesWritten: number;
    let existing: FileStat | undefined;
    try {
      try {
        await this.#removeSidecars();
        [backup, bytesWritten] = await this.#fill(output, backup);
        existing = await fileSystem.stat('restore:stat', outputPath);
        this.#reporter.start('sync');
        if (existing?.kind === 'file') await output.setOwner('restore:owner', existing);
        await output.sync('restore:sync');
      } finally {
        await output.close();
      }
      throwIfAborted(this.#signal);
      // A file is not replaced before the new one is known to be good.
      if (existing !== undefined) await this.#check(this.#temporary);
      await this.#publish();
    } catch (error) {
      await this.#discard(this.#temporary);
      throw error;
    }
    if (existing === undefined) await this.#checkPublished();
    if (backup.kind === 'ltx') {
      const { client, logger } = this.#options;
      await warnOfOldSnapshot(backup.plan, client, logger, this.#signal);
    }
    const durationMs = clock.monotonic() - started;
    if (backup.kind === 'ltx') {
      return { plan: backup.plan, legacy: undefined, bytesWritten, durationMs };
    }
    const plan = { files: [], minTxid: NO_TXID, maxTxid: NO_TXID, newestTxid: NO_TXID };
    return { plan, legacy: backup.plan, bytesWritten, durationMs };
  }

  async #plan(): Promise<Backup> {
    const { client, target, rollbackMode = false, logger } = this.#options;
    const options = {
      signal: this.#signal,
      catalog: this.#catalog,
      damaged: this.#damaged,
      exact: this.#exact,
    };
    // A second plan is made because what was known has turned out to be old.
    this.#catalog = undefined;
    // A follower goes on with LTX files, so it has to begin with them.
    if (rollbackMode) return { kind: 'ltx', plan: await planRestore(client, target, options) };
    const backup = await chooseBackup(client, target, options);
    if (backup.kind === 'legacy') {
      const { generation, snapshot, segments } = backup.plan;
      logger.log(backup.contested ? 'info' : 'debug', 'restoring v0.3.x data', {
        generation,
        index: snapshot.index,
        segments: segments.length,
      });
    }
    return backup;
  }

  /** SQLite would apply what a killed restore has left beside the temporary file. */
  async #removeSidecars(): Promise<void> {
    const { fileSystem } = this.#options;
    for (const path of sidecarPaths(this.#temporary)) {
      await fileSystem.remove('restore:sidecar', path);
    }
  }

  /** Applies the plan; if retention or compaction has removed one of its files meanwhile, a new one. */
  async #fill(output: OpenFile, first: Backup): Promise<[backup: Backup, bytes: number]> {
    const { logger } = this.#options;
    let backup = first;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return [backup, await this.#apply(output, backup)];
      } catch (error) {
        const reason = this.#reasonToPlanAgain(error, backup, attempt);
        if (reason === undefined) throw error;
        logger.log('warn', `${reason}, planning again`, {
          attempt: attempt + 1,
          ...(isDamage(error) ? { error } : {}),
        });
        await output.truncate('restore:truncate', 0);
        backup = await this.#planAgain();
      }
    }
  }

  #reasonToPlanAgain(error: unknown, backup: Backup, attempt: number): string | undefined {
    if (backup.kind === 'ltx' && isDamage(error)) {
      if (this.#options.aroundDamage !== true) return undefined;
      // Whether the file was needed at all is known for sure only with exact times.
      const isNew = !this.#exact || this.#damaged.note(error, backup.plan);
      this.#exact = true;
      return isNew ? 'a planned file is damaged' : undefined;
    }
    if (attempt >= REPLANS) return undefined;
    if (isGone(error)) return 'a planned file is gone';
    if (!isLitestreamError(error, 'ERR_TX_NOT_AVAILABLE') || this.#exact) return undefined;
    this.#exact = true;
    return 'a planned file is too new';
  }

  /** Another plan. If there is none without the damaged files, or only one to an older state, their damage is the error. */
  async #planAgain(): Promise<Backup> {
    let backup: Backup;
    try {
      backup = await this.#plan();
    } catch (error) {
      if (isLitestreamError(error, 'ERR_ABORTED')) throw error;
      throw this.#damaged.error ?? error;
    }
    const { error } = this.#damaged;
    if (error === undefined) return backup;
    if (backup.kind !== 'ltx') throw error;
    this.#damaged.check(backup.plan);
    return backup;
  }

  async #apply(output: OpenFile, backup: Backup): Promise<number> {
    const { client, fileSystem, clock, rollbackMode = false } = this.#options;
    const { parallelism = DEFAULT_PARALLELISM } = this.#options;
    const job = {
      context: { client, fileSystem, clock, signal: this.#signal },
      output,
      outputPath: this.#temporary,
      parallelism: Math.max(1, Math.floor(parallelism)),
      onHeader: (file: FileInfo, header: LtxHeader) => this.#checkTime(file, header),
      readSoon: (this.#options.integrityCheck ?? 'none') !== 'none',
      onSize: (bytes: number) => this.#checkSpace(bytes),
      onBytes: this.#reporter.add,
    };
    if (backup.kind === 'legacy') {
      const { applyLegacy, legacyBytes } = await import('./legacy.ts');
      this.#reporter.start('fetch', legacyBytes(backup.plan));
      return await applyLegacy({ ...job, plan: backup.plan });
    }
    const { files } = backup.plan;
    const total = files.reduce((sum, file) => sum + file.size, 0);
    this.#reporter.start('fetch', total);
    return await applyFiles({ ...job, files, rollbackMode });
  }

  /** The plan has believed a time that the file's header knows better. */
  #checkTime(file: FileInfo, header: LtxHeader): void {
    const { timestampMs = Infinity } = this.#options.target;
    if (this.#exact || header.timestampMs < timestampMs) return;
    throw new LitestreamError('ERR_TX_NOT_AVAILABLE', `${fileName(file)} is too new`, {
      details: { expected: `before ${timestampMs}`, found: header.timestampMs },
    });
  }

  async #checkSpace(bytes: number): Promise<void> {
    const { fileSystem } = this.#options;
    const free = await fileSystem.freeBytes('restore:free', dirname(this.#temporary));
    if (free >= bytes) return;
    throw new LitestreamError(
      'ERR_DISK_FULL',
      `write ${this.#temporary}: no space left on device: the database needs ${bytes} bytes, ${free} are free`,
      { details: { path: this.#temporary, expected: bytes, found: free }, retryable: true },
    );
  }

  /** Gives the complete file its name. A sidecar that has appeared meanwhile is treated like one from before. */
  async #publish(): Promise<void> {
    const { fileSystem, outputPath, force = false } = this.#options;
    await checkOutputPath(fileSystem, outputPath, force);
    for (const path of sidecarPaths(outputPath)) await fileSystem.remove('restore:sidecar', path);
    await fileSystem.rename('restore:publish', this.#temporary, outputPath);
    await fileSystem.syncDirectory('restore:sync-folder', dirname(outputPath));
  }

  async #check(path: string): Promise<void> {
    const { fileSystem, logger, integrityCheck: mode = 'none' } = this.#options;
    if (mode === 'none') return;
    this.#reporter.start('check');
    const { checkIntegrity } = await import('../sqlite/index.ts');
    try {
      await checkIntegrity(path, mode, { fileSystem, signal: this.#signal });
    } catch (error) {
      throw wrapError('post-restore integrity check', error);
    }
    logger.log('info', 'post-restore integrity check passed');
  }

  /** A file that fails the check goes; one whose check was cancelled stays. Spec: replication 23.4. */
  async #checkPublished(): Promise<void> {
    const { outputPath } = this.#options;
    try {
      await this.#check(outputPath);
    } catch (error) {
      if (!isLitestreamError(error, 'ERR_ABORTED')) await this.#discard(outputPath);
      throw error;
    }
  }

  async #discard(path: string): Promise<void> {
    const { fileSystem } = this.#options;
    for (const each of [path, ...sidecarPaths(path)])
      await fileSystem.remove('restore:discard', each);
  }
}

/**
 * Restores a database: plan, checks of the output path and its sidecars, `OUT.tmp`, fsync, rename, directory fsync, integrity
 * check. If the replica holds data of Litestream v0.3.x that is newer than the LTX files, that is restored, unless a TXID is given.
 * Nothing of an existing file is touched before the new one is complete; a failure leaves no temporary file.
 *
 * Spec: replication 23.2, 23.4, 23.5, cli 6.2, formats 5.3, 7.
 *
 * @throws LitestreamError `ERR_OUTPUT_EXISTS`, `ERR_TX_NOT_AVAILABLE`, `ERR_TX_GAP`, `ERR_NO_SNAPSHOTS`, `ERR_LTX_CORRUPTED`,
 *   `ERR_LTX_HEADER`, `ERR_LZ4`, `ERR_WAL_FORMAT`, `ERR_DB_INVALID`, `ERR_DB_IO`,
 *   `ERR_INTEGRITY`, `ERR_DISK_FULL`, `ERR_IO`, `ERR_ABORTED` and storage errors.
 */
export async function restoreDatabase(options: RestoreOptions): Promise<RestoreResult> {
  return await new Restore(options).run();
}
