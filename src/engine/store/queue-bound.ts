import { join } from 'node:path';
import { mergeRange } from '../../compaction/index.ts';
import { type Txid } from '../../formats/ltx/index.ts';
import { present } from '../../lib/assert.ts';
import { type Clock, isAborted, sleep } from '../../lib/clock.ts';
import { errorMessage, isLitestreamError } from '../../lib/errors.ts';
import type { FileInfo, ReplicaClient } from '../../storage/index.ts';
import type { LogAttributes, Logger } from '../../telemetry/index.ts';
import type { Database } from '../db/database.ts';
import type { Ports } from '../options.ts';

/** Bytes that may wait for a replica before restore points are given up. */
const QUEUE_BYTES_MAX = 1024 ** 3;
const LOOK_MS = 60_000;
/** The newest files stay as they are: continuity is proven with the last one. */
const KEPT_FILES = 2;
/** More files would make the merge's bookkeeping large; the rest follows in the next round. */
const FILES_PER_MERGE = 4096;

export interface QueueBoundInit {
  readonly database: Database;
  readonly ports: Ports;
  readonly logger: Logger;
  readonly bytesMax?: number | undefined;
}

/**
 * Bounds the queue of a database whose replica does not take its files: above 1 GiB and twice the database, the oldest waiting files
 * become one, with the newest version of each page. Nothing that was committed is lost; what goes are restore points inside the
 * outage.
 */
export class QueueBound {
  readonly #init: QueueBoundInit;
  /** Bytes of each waiting file, by its last TXID. */
  readonly #sizes = new Map<bigint, number>();

  constructor(init: QueueBoundInit) {
    this.#init = init;
  }

  /** True if a replica is behind by more than the files that always stay. */
  get isDue(): boolean {
    const { database } = this.#init;
    return database.txid - this.#lowest() > KEPT_FILES;
  }

  /** {@link enforce}; a failure is logged. */
  async tryEnforce(signal: AbortSignal): Promise<void> {
    try {
      await this.enforce(signal);
    } catch (error) {
      if (isAborted(signal)) return;
      const text = 'cannot shorten the queue of a replica that is behind';
      this.#init.logger.log('error', text, { error: errorMessage(error) });
    }
  }

  /** Looks at the queue, and shortens it if it is too long. @throws LitestreamError */
  async enforce(signal?: AbortSignal): Promise<void> {
    const { database } = this.#init;
    const lowest = this.#lowest();
    const waiting = (await database.files.list()).filter((txid) => txid > lowest);
    const bytes = await this.#measure(waiting);
    const limit = await this.#limit();
    if (bytes <= limit) return;
    const mergeable = waiting.slice(0, -KEPT_FILES);
    for (const segment of this.#segments(mergeable)) {
      let rest: readonly Txid[] = segment;
      while (rest.length > 1) {
        const done = await this.#merge(rest, signal);
        if (done === undefined) break;
        if (done.inputs > 1) this.#sayMerged(done, { queue_bytes: bytes, limit });
        // The page size changed: a file of its own begins there.
        rest = rest.slice(done.inputs);
      }
    }
  }

  #sayMerged({ file, inputs }: Merged, queue: LogAttributes): void {
    const { database, logger, ports } = this.#init;
    logger.log(
      'warn',
      'a replica has been behind for long: restore points of this time were merged into one',
      {
        min_txid: file.minTxid,
        max_txid: file.maxTxid,
        files: inputs,
        size: file.size,
        ...queue,
        hint: 'nothing that was committed is lost; look at why the replica does not take its files',
      },
    );
    ports.metrics.add('litestream_queue_merge_count', { db: database.options.path }, 1);
  }

  /** Where the replica stands that is furthest behind; 0 if that is not known. */
  #lowest(): bigint {
    let lowest: bigint | undefined;
    for (const { position = 0n } of this.#init.database.replicas) {
      if (lowest === undefined || position < lowest) lowest = position;
    }
    return lowest ?? 0n;
  }

  async #limit(): Promise<number> {
    const { bytesMax = QUEUE_BYTES_MAX, database, ports } = this.#init;
    const stat = await ports.fileSystem.stat('queue:stat-database', database.options.path);
    return Math.max(bytesMax, 2 * (stat?.size ?? 0));
  }

  async #measure(waiting: readonly Txid[]): Promise<number> {
    const { database, ports } = this.#init;
    const known = new Set<bigint>(waiting);
    for (const txid of this.#sizes.keys()) if (!known.has(txid)) this.#sizes.delete(txid);
    let bytes = 0;
    for (const txid of waiting) {
      let size = this.#sizes.get(txid);
      if (size === undefined) {
        const stat = await ports.fileSystem.stat('queue:stat', database.files.pathOf(txid));
        size = stat?.size ?? 0;
        this.#sizes.set(txid, size);
      }
      bytes += size;
    }
    return bytes;
  }

  /** Runs of files that no replica stands in the middle of. */
  #segments(txids: readonly Txid[]): Txid[][] {
    const positions = this.#init.database.replicas.map(({ position = 0n }) => position as bigint);
    const segments: Txid[][] = [];
    let current: Txid[] = [];
    for (const txid of txids) {
      current.push(txid);
      if (!positions.includes(txid) && current.length < FILES_PER_MERGE) continue;
      segments.push(current);
      current = [];
    }
    segments.push(current);
    return segments.filter((segment) => segment.length > 1);
  }

  /** Merges files into one local file. Undefined if they had been taken away meanwhile. */
  async #merge(
    segment: readonly Txid[],
    signal: AbortSignal | undefined,
  ): Promise<Merged | undefined> {
    const { database, logger, ports } = this.#init;
    const { files } = database;
    const inputs: FileInfo[] = segment.map((maxTxid) => {
      const { minTxid } = files.rangeOf(maxTxid);
      return { level: 0, minTxid, maxTxid, size: this.#sizes.get(maxTxid) ?? 0, createdAt: 0 };
    });
    try {
      return await mergeRange(contiguous(inputs), {
        level: 0,
        client: localClient(database, segment),
        openLocal: (file) => files.openCopy(file),
        temporary: {
          fileSystem: ports.fileSystem,
          path: (name) => join(files.folder, `queue.${name}`),
          owner: files.ownership?.file,
        },
        clock: ports.clock,
        logger,
        signal,
      });
    } catch (error) {
      // The replica has caught up: its files are gone, and so is the reason.
      if (isLitestreamError(error, 'ERR_LTX_MISSING')) return undefined;
      throw error;
    }
  }
}

interface Merged {
  readonly file: FileInfo;
  readonly inputs: number;
}

/** Files up to the first gap: the replica needs a snapshot there anyway. */
function contiguous(files: readonly FileInfo[]): FileInfo[] {
  const gap = files.findIndex((file, at) => {
    const before = files[at - 1];
    return before !== undefined && file.minTxid !== before.maxTxid + 1n;
  });
  return gap < 0 ? [...files] : files.slice(0, gap);
}

/** The local folder in the place of a replica: files are read from it, and the merged one is published in it. */
function localClient(
  { files }: Database,
  segment: readonly Txid[],
): Pick<ReplicaClient, 'read' | 'write'> {
  return {
    async *read(key) {
      // Everything is read by `openLocal`; what that did not find is gone.
      yield* (
        await files.source(
          present(
            segment.find((txid) => txid === key.maxTxid),
            'input',
          ),
        )
      ).stream();
    },
    async write(key, source) {
      const { maxTxid, minTxid } = key;
      // A file that nothing can be merged with stays as it is.
      if (minTxid === maxTxid) return { ...key, size: source.size, createdAt: 0 };
      const replaced = segment.filter((txid) => txid <= maxTxid);
      await files.merge({ minTxid, maxTxid }, source, replaced);
      return { ...key, size: source.size, createdAt: 0 };
    },
  };
}

/** Looks at all queues again and again, one after the other: merging reads and writes a lot. Ends with the signal. */
export async function runQueueBounds(
  queues: () => readonly QueueBound[],
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    try {
      await sleep(clock, LOOK_MS, signal);
    } catch {
      return;
    }
    for (const queue of queues().filter(({ isDue }) => isDue)) {
      if (!isAborted(signal)) await queue.tryEnforce(signal);
    }
  }
}
