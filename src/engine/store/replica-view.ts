import { newestOf } from '../../compaction/index.ts';
import { readRange, type FileInfo, type FileKey, type ReplicaClient } from '../../storage/index.ts';
import { formatFileName } from '../../formats/ltx/index.ts';
import { errorMessage, isLitestreamError } from '../../lib/errors.ts';
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

/** Where the files of a level do not follow each other, or why that cannot be told; undefined if they do. */
export async function contiguityProblem(
  client: ReplicaClient,
  level: number,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const nameOfRange = (file: FileInfo): string => formatFileName(file.minTxid, file.maxTxid);
  let problem: string | undefined;
  try {
    let last: FileInfo | undefined;
    for (const file of await listLevel(client, level, signal)) {
      if (last !== undefined && last.maxTxid + 1n !== file.minTxid) {
        problem = `files are not contiguous: ${nameOfRange(last)} is followed by ${nameOfRange(file)}`;
      }
      last = file;
    }
  } catch (error) {
    problem = errorMessage(error);
  }
  return problem;
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
  /** Ends of the files of each level that the next level does not cover yet. */
  readonly #waiting = new Map<number, bigint[]>();
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
    const { newest, waiting } = await this.#replica.history(signal);
    for (const [level, file] of newest) if (level > 0) this.#newest.set(level, file);
    for (const [level, ends] of waiting) this.#waiting.set(level, [...ends]);
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
    const { level, maxTxid } = file;
    this.#newest.set(level, file);
    this.#wait(file);
    // A restore begins with the newest snapshot: nothing before it is waited for.
    const covers = level === SNAPSHOT_LEVEL ? [...this.#waiting.keys()] : [level - 1];
    for (const below of covers) {
      const ends = this.#waiting.get(below);
      if (ends !== undefined) this.#waiting.set(below, endsBehind(ends, maxTxid));
    }
  }

  #wait({ level, maxTxid }: FileInfo): void {
    if (level >= SNAPSHOT_LEVEL) return;
    const ends = this.#waiting.get(level);
    if (ends === undefined) this.#waiting.set(level, [maxTxid]);
    else ends.push(maxTxid);
  }

  /** How many files of the level below wait to be merged into this one. */
  waitingFor(level: number): number {
    const end = this.newest(level)?.maxTxid ?? 0n;
    const from = end > this.covered ? end : this.covered;
    if (level > 1) return endsBehind(this.#waiting.get(level - 1) ?? [], from).length;
    const position = this.#replica.position ?? 0n;
    return position > from ? Number(position - from) : 0;
  }

  /** Takes over what listings of the levels above 0 show. */
  replace(files: readonly FileInfo[]): void {
    this.#newest.clear();
    for (let level = 1; level <= SNAPSHOT_LEVEL; level++) {
      const newest = newestOf(files.filter((file) => file.level === level));
      if (newest !== undefined) this.#newest.set(level, newest);
    }
    this.#waiting.clear();
    for (const file of files) {
      if (file.maxTxid > (this.newest(file.level + 1)?.maxTxid ?? 0n)) this.#wait(file);
    }
    this.#loaded = true;
  }

  /** End of what can be restored without the level in question: gaps below are harmless. */
  get covered(): bigint {
    const snapshot = this.newest(SNAPSHOT_LEVEL)?.maxTxid ?? 0n;
    return snapshot > this.#covered ? snapshot : this.#covered;
  }

  /** The newest snapshot is the first file of level 0. */
  get holdsFirst(): boolean {
    return this.newest(SNAPSHOT_LEVEL)?.maxTxid === 1n;
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

function endsBehind(ends: readonly bigint[], end: bigint): bigint[] {
  return ends.filter((each) => each > end);
}

function nameOf({ level, minTxid, maxTxid }: FileKey): string {
  return `${level}/${formatFileName(minTxid, maxTxid)}`;
}
