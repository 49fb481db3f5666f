import { newestOf } from '../../compaction/index.ts';
import { readRange, type FileInfo, type FileKey, type ReplicaClient } from '../../storage/index.ts';
import { formatFileName } from '../../formats/ltx/index.ts';
import { isLitestreamError } from '../../lib/errors.ts';
import type { Replica } from '../replica/replica.ts';

export const SNAPSHOT_LEVEL = 9;

/** All files of one level. */
export async function listLevel(
  client: ReplicaClient,
  level: number,
  signal?: AbortSignal,
): Promise<FileInfo[]> {
  const files: FileInfo[] = [];
  for await (const file of client.list(level, { signal })) files.push(file);
  return files;
}

/** True if the file can be read, whatever a listing says. */
export async function exists(
  client: ReplicaClient,
  key: FileKey,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    return (await readRange(client, key, { size: 1, signal })).length > 0;
  } catch (error) {
    if (isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND')) return false;
    throw error;
  }
}

/**
 * What is known of one replica without asking it: the newest file of each level above 0, from the first contact on kept up to date by
 * whoever writes. An idle database causes no listing.
 */
export class ReplicaView {
  readonly #replica: Replica;
  readonly #newest = new Map<number, FileInfo>();
  readonly #unusable = new Set<string>();
  #loaded = false;
  /** The replica can be restored up to here without gaps, by all levels together. */
  #covered = 0n;

  constructor(replica: Replica) {
    this.#replica = replica;
  }

  /** Asks the replica if nothing is known yet. */
  async load(signal?: AbortSignal): Promise<void> {
    if (this.#loaded) return;
    const { newest } = await this.#replica.history(signal);
    for (const [level, file] of newest) if (level > 0) this.#newest.set(level, file);
    this.#loaded = true;
  }

  get loaded(): boolean {
    return this.#loaded;
  }

  newest(level: number): FileInfo | undefined {
    return this.#newest.get(level);
  }

  /** Notes a file that was written. */
  wrote(file: FileInfo): void {
    this.#newest.set(file.level, file);
  }

  /** Takes over what listings of the levels above 0 show. */
  replace(files: readonly FileInfo[]): void {
    this.#newest.clear();
    for (let level = 1; level <= SNAPSHOT_LEVEL; level++) {
      const newest = newestOf(files.filter((file) => file.level === level));
      if (newest !== undefined) this.#newest.set(level, newest);
    }
    this.#loaded = true;
  }

  /** End of what can be restored without the level in question: gaps below are harmless. */
  get covered(): bigint {
    const snapshot = this.newest(SNAPSHOT_LEVEL)?.maxTxid ?? 0n;
    return snapshot > this.#covered ? snapshot : this.#covered;
  }

  /** Notes that listings of all levels gave an unbroken history up to here. */
  restorable(txid: bigint): void {
    this.#covered = txid;
  }

  /** From now on the file counts as lost. */
  markUnusable(key: FileKey): void {
    this.#unusable.add(nameOf(key));
  }

  isUnusable(key: FileKey): boolean {
    return this.#unusable.size > 0 && this.#unusable.has(nameOf(key));
  }
}

function nameOf({ level, minTxid, maxTxid }: FileKey): string {
  return `${level}/${formatFileName(minTxid, maxTxid)}`;
}
