import { LegacyObjectDecoder } from '../formats/legacy/index.ts';
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  parseDatabaseHeader,
} from '../formats/sqlite/index.ts';
import { throwIfAborted } from '../lib/clock.ts';
import { LitestreamError, wrapError } from '../lib/errors.ts';
import type { OpenFile } from '../lib/file-system.ts';
import { WalApplier } from '../sqlite/index.ts';
import { mapOrdered, type ObjectInfo } from '../storage/index.ts';
import { type LegacyPart, type LegacyPlan, missingSegment, positionText } from './legacy-plan.ts';
import { WalWriter } from './legacy-wal.ts';
import { sidecarPaths } from './output.ts';
import { readObject, type SourceContext } from './source.ts';

/** Segments up to this size are fetched ahead. Most have a few KiB. */
const AHEAD_MAX = 1024 * 1024;
const WAL_MODE = 2;

/** One restore of v0.3.x data. */
export interface LegacyJob {
  readonly context: SourceContext;
  readonly plan: LegacyPlan;
  /** Open and empty. */
  readonly output: OpenFile;
  readonly outputPath: string;
  /** Segments fetched at the same time. */
  readonly parallelism: number;
  /** Called with a lower bound of the size of the database before anything is written. */
  onSize(bytes: number): Promise<void>;
  /** Called with numbers of compressed bytes. */
  onBytes(bytes: number): void;
}

/** A segment that was fetched ahead, or not because it is large. */
interface Fetched {
  readonly segment: LegacyPart;
  readonly chunks: readonly Uint8Array[] | undefined;
}

/** Sum of the compressed sizes. */
export function legacyBytes({ snapshot, segments }: LegacyPlan): number {
  return segments.reduce((sum, { object }) => sum + object.size, snapshot.object.size);
}

class LegacyRestore {
  readonly #job: LegacyJob;
  readonly #context: SourceContext;
  readonly #walPath: string;
  readonly #applier = new WalApplier();
  readonly #stop = new AbortController();
  #pageSize = 0;

  constructor(job: LegacyJob) {
    this.#job = job;
    const signal = AbortSignal.any([job.context.signal, this.#stop.signal]);
    this.#context = { ...job.context, signal };
    this.#walPath = `${job.outputPath}-wal`;
  }

  async run(): Promise<number> {
    const { fileSystem } = this.#context;
    const { plan, output, outputPath } = this.#job;
    for (const path of sidecarPaths(outputPath)) await fileSystem.remove('restore:sidecar', path);
    await this.#job.onSize(plan.snapshot.object.size);
    try {
      try {
        await this.#writeSnapshot();
      } catch (error) {
        throw wrapError('download snapshot', error);
      }
      try {
        await this.#applySegments();
      } catch (error) {
        throw wrapError('apply WAL segments', error);
      }
    } finally {
      this.#stop.abort();
      await this.#applier.close();
    }
    const { size } = await output.stat('restore:stat');
    return size;
  }

  async #writeSnapshot(): Promise<void> {
    const { output, plan } = this.#job;
    const { object } = plan.snapshot;
    let position = 0;
    await this.#decode(object, this.#read(object), async (block) => {
      await output.write('restore:write', block, position);
      position += block.length;
    });
    const bytes = new Uint8Array(DATABASE_HEADER_SIZE);
    const have = await output.read('restore:read', bytes, 0);
    const header = parseDatabaseHeader(bytes.subarray(0, have));
    checkSnapshot(object, header, position);
    this.#pageSize = header.pageSize;
  }

  /** Feeds the segments, in order, to one WAL after another. */
  async #applySegments(): Promise<void> {
    const { plan, parallelism } = this.#job;
    let wal: WalWriter | undefined;
    let file: OpenFile | undefined;
    let index = plan.snapshot.index;
    try {
      for await (const fetched of mapOrdered(plan.segments, parallelism, this.#fetch)) {
        const { segment } = fetched;
        throwIfAborted(this.#context.signal);
        if (segment.offset === 0) {
          const last = file;
          file = undefined;
          if (wal !== undefined) await this.#finish(wal, last);
          index = segment.index;
          file = await this.#openWal();
          wal = new WalWriter(file, index, this.#pageSize);
        }
        const offset = wal?.position ?? 0;
        if (wal === undefined || segment.offset !== offset || segment.index !== index) {
          throw missingSegment('WAL segment', { index, offset }, segment);
        }
        await this.#append(wal, fetched);
      }
      const last = file;
      file = undefined;
      if (wal !== undefined) await this.#finish(wal, last);
    } finally {
      await file?.close();
    }
  }

  async #openWal(): Promise<OpenFile> {
    return await this.#context.fileSystem.open('restore:create-wal', this.#walPath, 'create');
  }

  readonly #fetch = async (segment: LegacyPart): Promise<Fetched> => {
    if (segment.object.size > AHEAD_MAX) return { segment, chunks: undefined };
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.#read(segment.object)) chunks.push(chunk);
    return { segment, chunks };
  };

  async #append(wal: WalWriter, { segment, chunks }: Fetched): Promise<void> {
    const { object, index, offset } = segment;
    try {
      await this.#decode(object, chunks ?? this.#read(object), (block) => wal.write(block));
    } catch (error) {
      throw wrapError(`write WAL segment ${positionText(index, offset)}`, error);
    }
  }

  /** Lets SQLite move a complete WAL into the database. */
  async #finish(wal: WalWriter, file: OpenFile | undefined): Promise<void> {
    try {
      await wal.finish();
    } finally {
      await file?.close();
    }
    const { outputPath, output } = this.#job;
    await this.#applier.apply(outputPath, this.#context.signal);
    if (wal.commit === undefined) return;
    const expected = wal.commit * this.#pageSize;
    const { size: found } = await output.stat('restore:stat');
    if (found === expected) return;
    throw new LitestreamError(
      'ERR_DB_INVALID',
      `database has ${found} bytes after a WAL, expected ${expected}`,
      { details: { path: outputPath, expected, found } },
    );
  }

  async *#read(object: ObjectInfo): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of readObject(this.#context, object)) {
      this.#job.onBytes(chunk.length);
      yield chunk;
    }
  }

  /** Decodes an object; errors name it. */
  async #decode(
    { key }: ObjectInfo,
    stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    take: (block: Uint8Array) => Promise<void>,
  ): Promise<void> {
    const decoder = new LegacyObjectDecoder();
    try {
      for await (const chunk of stream) {
        for (const block of decoder.write(chunk)) await take(block);
      }
      decoder.end();
    } catch (error) {
      if (!(error instanceof LitestreamError) || error.code !== 'ERR_LZ4') throw error;
      throw wrapError(key, error);
    }
  }
}

function checkSnapshot(
  { key }: ObjectInfo,
  header: DatabaseHeader | undefined,
  size: number,
): asserts header is DatabaseHeader {
  let problem: string | undefined;
  if (header === undefined) problem = 'is no SQLite database';
  else if (size % header.pageSize !== 0) {
    problem = `has ${size} bytes, which are no whole pages of ${header.pageSize}`;
  } else if (header.writeVersion !== WAL_MODE || header.readVersion !== WAL_MODE) {
    problem = 'is not in WAL mode';
  }
  if (problem === undefined) return;
  const message = `${key}: snapshot ${problem}`;
  throw new LitestreamError('ERR_DB_INVALID', message, { details: { path: key } });
}

/**
 * Rebuilds a database from v0.3.x data: the snapshot, then one WAL after another, each moved into the database by SQLite. The WALs
 * lie beside the output as `-wal`; after a failure that and the output are of no use and have to be removed.
 *
 * Spec: formats 7.4.
 *
 * @returns bytes of the database
 * @throws LitestreamError prefixed `download snapshot: ` or `apply WAL segments: `: `ERR_LZ4` (damaged object), `ERR_WAL_FORMAT`,
 *   `ERR_DB_INVALID`, `ERR_TX_GAP` (`missing WAL segment: …`), `ERR_DB_IO`, `ERR_IO`, `ERR_DISK_FULL`, `ERR_ABORTED`, storage errors
 */
export async function applyLegacy(job: LegacyJob): Promise<number> {
  return await new LegacyRestore(job).run();
}
