import { type Clock, sleep } from '../lib/clock.ts';
import { isLitestreamError } from '../lib/errors.ts';
import type { FileSystem } from '../lib/file-system.ts';
import { isEmptyReplica, type RestoreProgress } from '../restore/index.ts';
import type { FileInfo, ReplicaClient } from '../storage/index.ts';
import { type ChainReport, checkChain, SNAPSHOT_LEVEL } from './chain.ts';
import { drillRestore, type DrillResult } from './drill.ts';
import { type CheckResult, type Finding, type VerifyReport, worst } from './report.ts';
import type { VerifySource } from './source.ts';
import { sweepFiles, type SweepResult } from './sweep.ts';
import { throttled } from './throttle.ts';

/** A gap has to be seen in so many listings in a row; between two of them passes this long. */
const LISTINGS = 3;
const LISTING_PAUSE_MS = 2000;

/**
 * How deep to look. `quick`: listings only. `standard`: every byte of every file, the files against each other, a restore with
 * `quick_check`, the source. `full`: the same with `integrity_check`.
 */
export type VerifyDepth = 'quick' | 'standard' | 'full';

/** How far a verification is. */
export type VerifyProgress =
  | { readonly phase: 'list' }
  | { readonly phase: 'files'; readonly bytesDone: number; readonly bytesTotal: number }
  | ({ readonly phase: 'restore' } & Omit<RestoreProgress, 'phase'>);

export interface VerifyOptions {
  readonly client: ReplicaClient;
  readonly depth: VerifyDepth;
  /** The database that the replica should be a copy of. */
  readonly source?: VerifySource | undefined;
  /** Existing folder with room for the database; a folder of its own is made in it, and removed. */
  readonly tempParent: string;
  /** What must be free there for the drill to begin; 0 or absent = what the database takes. */
  readonly reserveBytes?: number | undefined;
  /** Bound of what is read from the replica; 0 or absent = none. */
  readonly bytesPerSecond?: number | undefined;
  /** Requests at the same time during the restore. Default 8. */
  readonly parallelism?: number | undefined;
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: VerifyProgress) => void) | undefined;
}

const SKIPPED: SweepResult = {
  findings: [],
  filesRead: 0,
  bytesRead: 0,
  vanished: false,
  newest: undefined,
};

function sameFinding(a: Finding, b: Finding): boolean {
  return (
    a.kind === b.kind &&
    a.level === b.level &&
    a.range?.from === b.range?.from &&
    a.range?.to === b.range?.to
  );
}

/** One verification of one replica. */
class Verification {
  readonly #options: VerifyOptions;
  readonly #client: ReplicaClient;

  constructor(options: VerifyOptions) {
    this.#options = options;
    const { bytesPerSecond = 0, client, clock } = options;
    this.#client = bytesPerSecond > 0 ? throttled(client, bytesPerSecond, clock) : client;
  }

  async run(): Promise<VerifyReport> {
    const { clock, depth } = this.#options;
    const startedAt = clock.now();
    const started = clock.monotonic();
    const files = await this.#list();
    let chain = await this.#chain(files);
    const isEmpty = files.length === 0 && (await this.#isEmpty());
    const read = depth !== 'quick' && !isEmpty;
    const sweep = read ? await this.#sweep(files) : SKIPPED;
    if (sweep.vanished) chain = await this.#chain(await this.#list());
    const drill = read ? await this.#drill() : undefined;
    const chainFindings = isEmpty ? [empty()] : chain.findings;
    const findings = [...chainFindings, ...sweep.findings, ...(drill?.findings ?? [])];
    return {
      ok: worst(findings) !== 'damage',
      checks: [
        chainCheck(chain, chainFindings),
        read ? filesCheck(sweep) : skipped('files', isEmpty),
        ...(drill?.checks ?? [skipped('restore', isEmpty), skipped('source', isEmpty)]),
      ],
      findings,
      levels: chain.levels,
      restorable: chain.restorable,
      verifiedTxid: drill?.verifiedTxid,
      filesRead: sweep.filesRead,
      bytesRead: sweep.bytesRead,
      startedAt,
      durationMs: clock.monotonic() - started,
    };
  }

  /** All levels, the lowest first: the output of a compaction exists before its inputs are deleted, so nothing is missed. */
  async #list(): Promise<FileInfo[]> {
    const { onProgress, signal } = this.#options;
    onProgress?.({ phase: 'list' });
    const files: FileInfo[] = [];
    for (let level = 0; level <= SNAPSHOT_LEVEL; level++) {
      for await (const file of this.#client.list(level, { signal })) files.push(file);
    }
    return files;
  }

  async #isEmpty(): Promise<boolean> {
    return await isEmptyReplica(this.#client, { signal: this.#options.signal });
  }

  /** What a listing shows to be missing may be on its way, or just leaving: only what stays missing is reported. */
  async #chain(files: readonly FileInfo[]): Promise<ChainReport> {
    const { clock, signal } = this.#options;
    let report = checkChain(files);
    for (let listing = 1; listing < LISTINGS && report.findings.length > 0; listing++) {
      await sleep(clock, LISTING_PAUSE_MS, signal);
      const again = checkChain(await this.#list());
      const { findings } = report;
      report = {
        ...again,
        findings: again.findings.filter((one) => findings.some((other) => sameFinding(one, other))),
      };
    }
    return report;
  }

  async #sweep(files: readonly FileInfo[]): Promise<SweepResult> {
    const { clock, onProgress, signal } = this.#options;
    return await sweepFiles({
      client: this.#client,
      clock,
      signal,
      files,
      list: () => this.#list(),
      onProgress: (bytesDone, bytesTotal) =>
        onProgress?.({ phase: 'files', bytesDone, bytesTotal }),
    });
  }

  async #drill(): Promise<DrillResult> {
    const { clock, depth, fileSystem, onProgress, parallelism } = this.#options;
    const { reserveBytes, signal, source, tempParent } = this.#options;
    try {
      return await drillRestore({
        client: this.#client,
        source,
        integrity: depth === 'full' ? 'full' : 'quick',
        tempParent,
        reserveBytes,
        fileSystem,
        clock,
        signal,
        parallelism,
        onProgress: ({ bytesDone, bytesTotal }) =>
          onProgress?.({ phase: 'restore', bytesDone, bytesTotal }),
      });
    } catch (error) {
      if (!isLitestreamError(error, 'ERR_DISK_FULL')) throw error;
      const detail = `no room for the restored database in ${tempParent}: ${error.message}`;
      return {
        checks: [
          { name: 'restore', status: 'skipped', detail },
          { name: 'source', status: 'skipped', detail: 'nothing was restored to compare with' },
        ],
        findings: [],
        verifiedTxid: undefined,
      };
    }
  }
}

function empty(): Finding {
  return {
    kind: 'empty',
    severity: 'damage',
    message: 'the replica is empty: there is no backup',
    remedy: 'start litestream replicate; if it runs, check path, bucket and prefix of the replica',
  };
}

function skipped(name: CheckResult['name'], isEmpty: boolean): CheckResult {
  return { name, status: 'skipped', detail: isEmpty ? 'nothing there' : 'not asked for' };
}

function chainCheck(chain: ChainReport, findings: readonly Finding[]): CheckResult {
  const files = chain.levels.reduce((sum, level) => sum + level.files, 0);
  return {
    name: 'chain',
    status: worst(findings),
    detail: `${files} files in ${chain.levels.length} levels`,
  };
}

function filesCheck({ bytesRead, filesRead, findings }: SweepResult): CheckResult {
  return {
    name: 'files',
    status: worst(findings),
    detail: `${filesRead} files, ${bytesRead} bytes read`,
  };
}

/**
 * Verifies one replica: (a) every TXID from the oldest restore point on is in some file; (b) every byte of every file is right;
 * (c) compacted files and snapshots say what the files say that they stand for; (d) it restores, SQLite finds the result sound,
 * and it equals the source at a pinned TXID. Changes nothing in the replica. A replica that is written, compacted and
 * deleted from meanwhile gives no false alarm.
 *
 * Failures: design B3, failures RST-18, RST-22.
 *
 * @throws LitestreamError if it could not be carried out: errors of the storage, `ERR_IO`, `ERR_ABORTED`. Damage is no error, it
 *   is in the report.
 */
export async function verifyReplica(options: VerifyOptions): Promise<VerifyReport> {
  return await new Verification(options).run();
}
