import { join } from 'node:path';
import { formatTxid, type Txid } from '../formats/ltx/index.ts';
import { type Clock, sleep } from '../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../lib/errors.ts';
import type { FileSystem } from '../lib/file-system.ts';
import { restoreDatabase, type RestoreProgress, type RestoreResult } from '../restore/index.ts';
import type { ReplicaClient } from '../storage/index.ts';
import { noopLogger } from '../telemetry/index.ts';
import type { CheckResult, Finding } from './report.ts';
import {
  compareWithSource,
  type DatabaseSums,
  sumFile,
  sumSource,
  type VerifySource,
} from './source.ts';
import { TempFolder } from './temp-folder.ts';

/** How often a state of the source is pinned again, because compaction has taken its restore point meanwhile. */
const PINS = 3;
const RETRY_MS = 1000;

export interface DrillOptions {
  readonly client: ReplicaClient;
  readonly source: VerifySource | undefined;
  readonly integrity: 'quick' | 'full';
  /** Folder for the restored database; it is created in it, and removed. */
  readonly tempParent: string;
  /** What must be free there beside the restored database. */
  readonly reserveBytes?: number | undefined;
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  readonly parallelism?: number | undefined;
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
}

export interface DrillResult {
  readonly checks: readonly CheckResult[];
  readonly findings: readonly Finding[];
  readonly verifiedTxid: Txid | undefined;
}

/** The source as it was pinned, or why there is none. */
type Pinned = { readonly sums: DatabaseSums; readonly txid: Txid | undefined } | string;

function failed(error: unknown): Finding {
  const integrity = isLitestreamError(error, 'ERR_INTEGRITY');
  return {
    kind: integrity ? 'integrity' : 'not-restorable',
    severity: 'damage',
    message: integrity
      ? `the restored database is damaged: ${errorMessage(error)}`
      : `the replica cannot be restored: ${errorMessage(error)}`,
    remedy: integrity
      ? 'run PRAGMA integrity_check on the live database; if that is sound, write a new snapshot'
      : 'write a new snapshot: stop the daemon and run litestream replicate -once -force-snapshot',
  };
}

/** True if the failure says something about the replica. A full disk or a store that does not answer does not. */
function isVerdict(error: unknown): boolean {
  const verdicts = ['ERR_INTEGRITY', 'ERR_LTX_CORRUPTED', 'ERR_LTX_HEADER', 'ERR_TX_GAP'] as const;
  const others = ['ERR_TX_NOT_AVAILABLE', 'ERR_NO_SNAPSHOTS', 'ERR_WAL_FORMAT', 'ERR_LZ4'] as const;
  return [...verdicts, ...others, 'ERR_DB_INVALID' as const, 'ERR_STORAGE_NOT_FOUND' as const].some(
    (code) => isLitestreamError(error, code),
  );
}

class Drill {
  readonly #options: DrillOptions;
  readonly #folder: TempFolder;

  constructor(options: DrillOptions, folder: TempFolder) {
    this.#options = options;
    this.#folder = folder;
  }

  async run(): Promise<DrillResult> {
    for (let pin = 1; ; pin++) {
      const pinned = await this.#pin();
      const txid = typeof pinned === 'string' ? undefined : pinned.txid;
      try {
        await this.#checkRoom();
        const restored = await this.#restore(txid);
        return await this.#judge(restored, pinned);
      } catch (error) {
        const { clock, signal } = this.#options;
        const passed = txid !== undefined && isLitestreamError(error, 'ERR_TX_NOT_AVAILABLE');
        if (passed && pin < PINS) {
          await sleep(clock, RETRY_MS, signal);
          continue;
        }
        if (!isVerdict(error)) throw error;
        return this.#failure(error);
      }
    }
  }

  async #pin(): Promise<Pinned> {
    const { clock, signal, source } = this.#options;
    if (source === undefined) return 'no source given';
    try {
      const pages = await source.pin(signal);
      if (typeof pages === 'string') return pages;
      const sums = await sumSource(pages, { clock, signal });
      await pages.arrived?.(signal);
      return { txid: pages.txid, sums };
    } catch (error) {
      if (isLitestreamError(error, 'ERR_ABORTED')) throw error;
      return `cannot read ${source.path}: ${errorMessage(error)}`;
    }
  }

  /** The restore looks itself whether the database fits; this is about what it must leave to others. */
  async #checkRoom(): Promise<void> {
    const { fileSystem, reserveBytes = 0, tempParent } = this.#options;
    if (reserveBytes === 0) return;
    const free = await fileSystem.freeBytes('verify:free', tempParent);
    if (free >= reserveBytes) return;
    throw new LitestreamError(
      'ERR_DISK_FULL',
      `${free} bytes are free in ${tempParent}, ${reserveBytes} are needed`,
      { details: { path: tempParent, expected: reserveBytes, found: free }, retryable: true },
    );
  }

  get #output(): string {
    return join(this.#folder.path, 'restored.db');
  }

  async #restore(txid: Txid | undefined): Promise<RestoreResult> {
    const { client, clock, fileSystem, integrity, onProgress, parallelism, signal } = this.#options;
    return await restoreDatabase({
      client,
      outputPath: this.#output,
      target: txid === undefined ? {} : { txid },
      fileSystem,
      clock,
      logger: noopLogger,
      force: true,
      integrityCheck: integrity,
      ...(parallelism === undefined ? {} : { parallelism }),
      ...(onProgress === undefined ? {} : { onProgress }),
      signal,
    });
  }

  async #judge(restored: RestoreResult, pinned: Pinned): Promise<DrillResult> {
    const { clock, fileSystem, integrity, signal, source } = this.#options;
    const { bytesWritten, legacy, plan } = restored;
    const what = legacy === undefined ? `TXID ${formatTxid(plan.maxTxid)}` : 'v0.3.x data';
    const restore: CheckResult = {
      name: 'restore',
      status: 'ok',
      detail: `${what}, ${bytesWritten} bytes, ${integrity === 'full' ? 'integrity_check' : 'quick_check'} ok`,
    };
    const verifiedTxid = legacy === undefined ? plan.maxTxid : undefined;
    if (source === undefined || typeof pinned === 'string') {
      const detail = typeof pinned === 'string' ? pinned : '';
      return {
        checks: [restore, { name: 'source', status: 'skipped', detail }],
        findings: [],
        verifiedTxid,
      };
    }
    const own = await sumFile(fileSystem, this.#output, { clock, signal });
    const finding = compareWithSource({
      sourcePath: source.path,
      pinned: pinned.txid,
      restored: own,
      source: pinned.sums,
    });
    const at = pinned.txid === undefined ? '' : ` at TXID ${formatTxid(pinned.txid)}`;
    const check: CheckResult = {
      name: 'source',
      status: finding?.severity ?? 'ok',
      detail:
        finding === undefined ? `equal to ${source.path}${at}` : `differs from ${source.path}${at}`,
    };
    return {
      checks: [restore, check],
      findings: finding === undefined ? [] : [finding],
      verifiedTxid,
    };
  }

  #failure(error: unknown): DrillResult {
    const skipped = 'nothing was restored to compare with';
    return {
      checks: [
        { name: 'restore', status: 'damage', detail: errorMessage(error) },
        { name: 'source', status: 'skipped', detail: skipped },
      ],
      findings: [failed(error)],
      verifiedTxid: undefined,
    };
  }
}

/**
 * Restores the replica into a temporary folder, lets SQLite check the result, and compares it with the source at a pinned TXID.
 *
 * @throws LitestreamError what says nothing about the replica: `ERR_DISK_FULL`, `ERR_IO`, errors of the storage, `ERR_ABORTED`
 */
export async function drillRestore(options: DrillOptions): Promise<DrillResult> {
  const folder = await TempFolder.create(options.tempParent, options.fileSystem);
  try {
    return await new Drill(options, folder).run();
  } finally {
    await folder.remove();
  }
}
