import { formatTxid, toTxid, type LtxHeader } from '../formats/ltx/index.ts';
import { present } from '../lib/assert.ts';
import { type Clock, throwIfAborted } from '../lib/clock.ts';
import { errorMessage, isLitestreamError } from '../lib/errors.ts';
import type { FileSystem, OpenFile, Ownership } from '../lib/file-system.ts';
import type { FileInfo, ReplicaClient } from '../storage/index.ts';
import type { Logger } from '../telemetry/index.ts';
import { previousBoundary } from './boundary.ts';
import { chooseInputs, endOf, groupByInterval, type LevelGap } from './chain.ts';
import { damage, isDamage, nameInput } from './damage.ts';
import { memoryBytes, openFileBytes, streamBytes, type ByteSource } from './input.ts';
import { FAN_IN, InputFailure, mergeFiles, type Merged } from './merge.ts';
import { Spool, type SpoolOptions } from './spool.ts';

/** Many groups may wait at the same time. */
const GROUP_MEMORY_BYTES = 64 * 1024;

/** Where temporary files go. */
export interface TemporaryFiles {
  readonly fileSystem: FileSystem;
  /** A name that nobody else uses; ends in `.tmp`. The folder exists. */
  path(name: string): string;
  readonly owner?: Ownership | undefined;
}

export interface CompactOptions {
  readonly client: ReplicaClient;
  /** The level that is written, 1 … 8; its inputs are one below. */
  readonly level: number;
  readonly intervalMs: number;
  /** The level's newest file; undefined if it is empty. */
  readonly newest: FileInfo | undefined;
  /** Does it although the level has a file of this interval. */
  readonly force?: boolean | undefined;
  /** The replica can be restored up to here without this level: gaps below are passed over. */
  readonly covered?: bigint | undefined;
  /** The source level is known to reach so far. */
  readonly expected?: bigint | undefined;
  /** A TXID that the source level must hold: if it does not, the level has lost files and nothing is compacted. */
  readonly anchor?: bigint | undefined;
  /** True for a file from TXID 1 on that a snapshot holds, too: a level that is empty begins behind it. */
  readonly isBase?: ((file: FileInfo) => boolean) | undefined;
  /** Files that have been found to be damaged: as if they did not exist. */
  readonly isUnusable?: ((file: FileInfo) => boolean) | undefined;
  /** A local copy of an input; undefined if there is none. Preferred to the replica's. */
  readonly openLocal?: ((file: FileInfo) => Promise<OpenFile | undefined>) | undefined;
  /** Called for each file once it is in the replica. */
  readonly onFile?: ((file: FileInfo) => void) | undefined;
  readonly temporary: TemporaryFiles;
  /** Inputs that are open at the same time; 256 without it. For tests. */
  readonly fanIn?: number | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal?: AbortSignal | undefined;
}

/** What a pass over one level came to. */
export type CompactOutcome =
  | {
      readonly kind: 'compacted';
      /** The last file that was written: one per interval in which inputs were created. */
      readonly file: FileInfo;
      /** Files that were merged. */
      readonly inputs: number;
      /** Where it had to stop. */
      readonly gap: LevelGap | undefined;
    }
  | { readonly kind: 'nothing' }
  /** TXIDs are missing before anything could be compacted. */
  | { readonly kind: 'gap'; readonly gap: LevelGap }
  | { readonly kind: 'too-early'; readonly nextAtMs: number };

/**
 * Merges what a source level has behind the destination's end into the destination: one file, or several if a backlog spans more
 * than one interval. A file is complete and its inputs are verified before its upload begins; after an error nothing is left of it.
 *
 * Spec: replication 17.4, formats 2.20, failures CMP-04, CMP-08, CMP-09, CMP-13.
 *
 * @throws LitestreamError `ERR_LTX_CORRUPTED` naming an input of which no copy is usable; errors of storage and file system
 */
export async function compactLevel(options: CompactOptions): Promise<CompactOutcome> {
  const { clock, intervalMs, newest } = options;
  const nowMs = clock.now();
  const boundary = previousBoundary(nowMs, intervalMs);
  // A file from the future is the work of a wrong clock and says nothing about this interval.
  const early = newest !== undefined && newest.createdAt > boundary && newest.createdAt <= nowMs;
  if (early && options.force !== true) {
    return { kind: 'too-early', nextAtMs: boundary + intervalMs };
  }
  const { files, gap } = await listInputs(options);
  let inputs = 0;
  let file: FileInfo | undefined;
  for (const group of groupByInterval(files, intervalMs, nowMs)) {
    const done = await new Compaction(options, group).run();
    file = done.file;
    inputs += done.inputs;
    options.onFile?.(file);
    // The page size changed: the next pass goes on there.
    if (done.inputs < group.length) break;
  }
  if (file !== undefined) return { kind: 'compacted', file, inputs, gap };
  return gap === undefined ? { kind: 'nothing' } : { kind: 'gap', gap };
}

async function listInputs(options: CompactOptions): ReturnType<typeof chooseFrom> {
  const { anchor } = options;
  const seek = toTxid(anchor ?? endOf(options.newest) + 1n);
  const chosen = await chooseFrom(options, seek);
  // A file that begins before the destination's end may reach beyond it.
  if (chosen.files.length > 0 || chosen.gap === undefined || seek === 1n) return chosen;
  return chooseFrom(options, toTxid(1n));
}

async function chooseFrom(
  options: CompactOptions,
  seek: FileInfo['minTxid'],
): Promise<ReturnType<typeof chooseInputs>> {
  const { anchor, client, covered, expected, isBase, isUnusable, level, newest, signal } = options;
  const files: FileInfo[] = [];
  for await (const file of client.list(level - 1, { seek, signal })) {
    if (isUnusable?.(file) !== true) files.push(file);
  }
  if (anchor !== undefined && !files.some((file) => holds(file, anchor))) {
    return { files: [], gap: { level: level - 1, from: anchor, to: anchor } };
  }
  const first = newest === undefined ? files.find(({ minTxid }) => minTxid === 1n) : undefined;
  const after = first !== undefined && isBase?.(first) === true ? first.maxTxid : endOf(newest);
  return chooseInputs({
    files,
    sourceLevel: level - 1,
    after,
    covered: covered ?? 0n,
    expected: expected ?? 0n,
  });
}

function holds(file: FileInfo, txid: bigint): boolean {
  return file.minTxid <= txid && txid <= file.maxTxid;
}

/** A file on its way through the merge. */
interface Part {
  open(): Promise<ByteSource>;
  /** @throws LitestreamError `ERR_LTX_CORRUPTED` if the header is another file's */
  check(header: LtxHeader): void;
  /** Switches to another copy. @throws the cause if there is none */
  failed(cause: unknown): void;
  discard(): Promise<void>;
}

/** What {@link mergeRange} needs of {@link CompactOptions}. */
export type MergeRangeOptions = Pick<
  CompactOptions,
  'clock' | 'fanIn' | 'level' | 'logger' | 'openLocal' | 'signal' | 'temporary'
> & { readonly client: Pick<ReplicaClient, 'read' | 'write'> & { readonly type?: string } };

/**
 * Merges these files, oldest first and without a gap, into one of `level`; fewer of them if the page size changes.
 *
 * @throws LitestreamError as {@link compactLevel}
 */
export function mergeRange(
  files: readonly FileInfo[],
  options: MergeRangeOptions,
): Promise<{ readonly file: FileInfo; readonly inputs: number }> {
  return new Compaction(options, files).run();
}

class Compaction {
  readonly #options: MergeRangeOptions;
  readonly #files: readonly FileInfo[];
  readonly #fanIn: number;
  #spools = 0;

  constructor(options: MergeRangeOptions, files: readonly FileInfo[]) {
    this.#options = options;
    this.#files = files;
    this.#fanIn = options.fanIn ?? FAN_IN;
  }

  async run(): Promise<{ file: FileInfo; inputs: number }> {
    const { client, level, signal } = this.#options;
    let parts: Part[] = this.#files.map((file) => new FilePart(file, this.#options));
    let inputs = 0;
    const temporary: Part[] = [];
    try {
      while (parts.length > this.#fanIn) {
        const stage = await this.#stage(parts, temporary);
        // The first stage counts files, later ones count its groups.
        if (inputs === 0) inputs = stage.inputs;
        parts = stage.parts;
      }
      // A replica in a folder takes the file over, or copies it once. For others it is read again.
      const spool = this.#spool({ isDirect: client.type === 'file' });
      try {
        const merged = await this.#merge(parts, spool);
        if (inputs === 0) inputs = merged.inputs;
        const { minTxid, maxTxid } = merged.header;
        throwIfAborted(signal);
        const key = { level, minTxid, maxTxid };
        return { file: await client.write(key, await spool.source(), { signal }), inputs };
      } finally {
        await spool.discard();
      }
    } finally {
      for (const part of temporary) await part.discard();
    }
  }

  /** Merges groups of parts into one part each. */
  async #stage(
    parts: readonly Part[],
    temporary: Part[],
  ): Promise<{ parts: Part[]; inputs: number }> {
    const merged: Part[] = [];
    let inputs = 0;
    for (let at = 0; at < parts.length; at += this.#fanIn) {
      const group = parts.slice(at, at + this.#fanIn);
      const spool = this.#spool({ memoryBytes: GROUP_MEMORY_BYTES });
      const part = new SpoolPart(spool);
      temporary.push(part);
      merged.push(part);
      const result = await this.#merge(group, spool);
      for (const done of group) await done.discard();
      inputs += result.inputs;
      if (result.inputs < group.length) break;
    }
    return { parts: merged, inputs };
  }

  /** Merges into the spool; begins again with another copy of an input that fails. */
  async #merge(parts: readonly Part[], spool: Spool): Promise<Merged> {
    const { clock, signal } = this.#options;
    for (;;) {
      try {
        return await mergeFiles({
          open: (input) => present(parts[input], 'part of the merge').open(),
          inputs: parts.length,
          check: (input, header) => present(parts[input], 'part of the merge').check(header),
          sink: (bytes) => spool.write(bytes),
          clock,
          signal,
        });
      } catch (error) {
        if (!(error instanceof InputFailure)) throw error;
        if (isLitestreamError(error.cause, 'ERR_ABORTED')) throw error.cause;
        present(parts[error.input], 'part of the merge').failed(error.cause);
        await spool.restart();
      }
    }
  }

  #spool(options: Pick<SpoolOptions, 'isDirect' | 'memoryBytes'>): Spool {
    const { level, temporary } = this.#options;
    const first = present(this.#files[0], 'first input');
    const last = present(this.#files.at(-1), 'last input');
    const range = `${formatTxid(first.minTxid)}-${formatTxid(last.maxTxid)}`;
    return new Spool({
      fileSystem: temporary.fileSystem,
      path: temporary.path(`${range}.level-${level}.${this.#spools++}.tmp`),
      owner: temporary.owner,
      ...options,
    });
  }
}

/** A file of the source level: the local copy as long as it is good, else the replica's. */
class FilePart implements Part {
  readonly #file: FileInfo;
  readonly #options: MergeRangeOptions;
  #local: 'untried' | 'used' | 'unusable' = 'untried';
  #localError: unknown;

  constructor(file: FileInfo, options: MergeRangeOptions) {
    this.#file = file;
    this.#options = options;
  }

  async open(): Promise<ByteSource> {
    const { client, openLocal, signal } = this.#options;
    if (this.#local !== 'unusable' && openLocal !== undefined) {
      this.#local = 'used';
      const file = await openLocal(this.#file);
      if (file !== undefined) return openFileBytes(file, this.#file.size);
      this.#local = 'unusable';
    }
    return streamBytes(client.read(this.#file, { signal }), this.#file.size);
  }

  check({ minTxid, maxTxid }: LtxHeader): void {
    const file = this.#file;
    if (minTxid === file.minTxid && maxTxid === file.maxTxid) return;
    throw damage('header disagrees with the file name', {
      field: 'minTxid and maxTxid',
      offset: 16,
      expected: `(${formatTxid(file.minTxid)},${formatTxid(file.maxTxid)})`,
      found: `(${formatTxid(minTxid)},${formatTxid(maxTxid)})`,
    });
  }

  failed(cause: unknown): void {
    if (this.#local !== 'used') throw this.#worst(cause);
    this.#local = 'unusable';
    this.#localError = cause;
    this.#options.logger.log('warn', 'local ltx file is unusable, reading the replica’s copy', {
      level: this.#file.level,
      min_txid: this.#file.minTxid,
      max_txid: this.#file.maxTxid,
      error: errorMessage(cause),
    });
  }

  discard(): Promise<void> {
    return Promise.resolve();
  }

  /** The replica's failure, unless the local copy's says more. */
  #worst(cause: unknown): unknown {
    const shown = isDamage(cause) || this.#localError === undefined ? cause : this.#localError;
    return nameInput(this.#file, shown);
  }
}

/** A merged group. */
class SpoolPart implements Part {
  readonly #spool: Spool;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  async open(): Promise<ByteSource> {
    const opened = await this.#spool.open();
    return opened instanceof Uint8Array
      ? memoryBytes(opened)
      : openFileBytes(opened, this.#spool.size);
  }

  check(): void {
    // Written a moment ago.
  }

  failed(cause: unknown): void {
    throw cause;
  }

  discard(): Promise<void> {
    return this.#spool.discard();
  }
}
