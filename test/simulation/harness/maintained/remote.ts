import { type LtxFile, matchFileName } from '../../../../src/formats/ltx/index.ts';
import type { FileInfo } from '../../../../src/storage/index.ts';
import type { MemoryObject } from '../../../../src/testing/index.ts';

/** What is in a destination; tells of everything that is written or deleted through a client. */
export class WatchedStore extends Map<string, MemoryObject> {
  onWrite:
    ((name: string, before: MemoryObject | undefined, now: MemoryObject) => void) | undefined;

  onDelete: ((name: string) => void) | undefined;

  override set(name: string, object: MemoryObject): this {
    this.onWrite?.(name, this.get(name), object);
    return super.set(name, object);
  }

  override delete(name: string): boolean {
    this.onDelete?.(name);
    return super.delete(name);
  }

  /** An object gets lost. */
  lose(name: string): void {
    super.delete(name);
  }

  /** Changes an object behind everybody's back. */
  tamper(name: string, object: MemoryObject): void {
    super.set(name, object);
  }
}

/** An object that was lost or damaged, and what has happened since. */
export interface Harm {
  /** Complete rounds of maintenance since then, with a commit each. */
  rounds: number;
  /** Errors that the daemons had logged before. */
  readonly errors: number;
  readonly what: string;
}

/** One destination, whoever writes to it. */
export class Remote {
  readonly name: string;
  readonly store: WatchedStore = new WatchedStore();
  /** State that each TXID stands for here. */
  readonly states: Map<bigint, string> = new Map<bigint, string>();
  /** The same, as a follower has it. */
  readonly followed: Map<bigint, string> = new Map<bigint, string>();
  /** Names of objects whose bytes are wrong. */
  readonly damaged: Set<string> = new Set<string>();
  /** Last TXID that a client was told to be stored. */
  acknowledged = 0n;
  /** Objects were lost since the last time that everything was known to be well. */
  harm: Harm | undefined;
  /** There may be holes in what can be restored to a time. */
  scarred = false;
  /** End of the last snapshot that was deleted, for whatever reason. */
  floor = 0n;
  /** The same of those that had expired. */
  expired = 0n;
  /** Greatest wall-clock time at which retention may have run. */
  cutoffFrom: number = -Infinity;
  down = false;

  constructor(name: string) {
    this.name = name;
  }

  files(): FileInfo[] {
    const files: FileInfo[] = [];
    for (const [name, { bytes, createdAt }] of this.store) {
      const file = fileOf(name);
      if (file !== undefined) files.push({ ...file, size: bytes.length, createdAt });
    }
    return files;
  }

  /** Everything is gone; who comes next begins a history. */
  wipe(): void {
    this.store.clear();
    this.states.clear();
    this.followed.clear();
    this.damaged.clear();
    this.acknowledged = 0n;
    this.floor = 0n;
    this.expired = 0n;
  }
}

/** Level and TXIDs of an object. */
export function fileOf(name: string): Pick<FileInfo, 'level' | 'minTxid' | 'maxTxid'> | undefined {
  const [base, level] = name.split('/').toReversed();
  const txids = matchFileName(base ?? '');
  return txids === undefined ? undefined : { level: Number(level), ...txids };
}

/** The state that a file with every page holds. */
export function imageOf(file: LtxFile): Buffer {
  const { commit, pageSize } = file.header;
  const image = Buffer.alloc(commit * pageSize);
  for (const { data, pgno } of file.pages) image.set(data, (pgno - 1) * pageSize);
  return image;
}
