import { type Clock, sleep } from '../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../lib/errors.ts';
import { isMissing } from '../lib/os-error.ts';
import type { FileInfo, ReplicaClient } from '../storage/index.ts';
import { fileText, History, SNAPSHOT_LEVEL, txidRange } from './chain.ts';
import { type FileContent, ContentReader } from './file-content.ts';
import { LevelWindow, type PageDifference } from './level-window.ts';
import type { PageState } from './page-state.ts';
import type { Finding } from './report.ts';
import { StateTracker } from './state-tracker.ts';

/** Attempts to read one file. */
const ATTEMPTS = 4;
const RETRY_MS = 1000;
/** Listings made because a file was gone. Each narrows what may go next, because the files that live shortest come last. */
const RELISTS_MAX = 20;

export interface SweepOptions {
  readonly client: ReplicaClient;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Of all levels. */
  readonly files: readonly FileInfo[];
  /** Lists all levels again. */
  readonly list: () => Promise<readonly FileInfo[]>;
  /** Called after each file with the bytes read so far and those of all files. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

export interface SweepResult {
  readonly findings: readonly Finding[];
  readonly filesRead: number;
  readonly bytesRead: number;
  /** True if a file was gone when it was its turn: what remains has to be listed, and checked for gaps, again. */
  readonly vanished: boolean;
  /** TXID and checksums of the newest state; undefined if there is none. */
  readonly newest: { readonly txid: bigint; readonly state: PageState } | undefined;
}

function isDamage(error: unknown): error is LitestreamError {
  return (
    isLitestreamError(error, 'ERR_LTX_CORRUPTED') || isLitestreamError(error, 'ERR_LTX_HEADER')
  );
}

function nameOf({ level, minTxid, maxTxid }: FileInfo): string {
  return `${level}/${minTxid}-${maxTxid}`;
}

/** By where they end; at the same end the lower level, and then the shorter file, first. */
function byEnd(a: FileInfo, b: FileInfo): number {
  if (a.maxTxid !== b.maxTxid) return a.maxTxid < b.maxTxid ? -1 : 1;
  if (a.level !== b.level) return a.level - b.level;
  return a.minTxid > b.minTxid ? -1 : a.minTxid < b.minTxid ? 1 : 0;
}

/** Files that still have to be read. */
class Queue {
  #files: readonly FileInfo[] = [];
  #next = 0;
  readonly #done = new Set<string>();
  #left: number[] = [];
  bytesTotal = 0;

  /** Continues with a new listing. */
  replace(files: readonly FileInfo[]): void {
    this.#files = files.filter((file) => !this.#done.has(nameOf(file))).toSorted(byEnd);
    this.#next = 0;
    this.#left = Array.from({ length: SNAPSHOT_LEVEL + 1 }, () => 0);
    this.bytesTotal = files.reduce((sum, file) => sum + file.size, 0);
    for (const { level } of this.#files) this.#left[level] = (this.#left[level] ?? 0) + 1;
  }

  take(): FileInfo | undefined {
    const file = this.#files[this.#next];
    if (file === undefined) return undefined;
    this.#next++;
    this.#done.add(nameOf(file));
    this.#left[file.level] = (this.#left[file.level] ?? 0) - 1;
    return file;
  }

  /** True if a file that files of this level were merged into may still come. */
  hasLevelAbove(level: number): boolean {
    return this.#left.slice(level + 1, SNAPSHOT_LEVEL).some((count) => count > 0);
  }

  /** True if an increment is still to come that continues a state. */
  leadsOnFrom(txid: bigint): boolean {
    for (let at = this.#next; at < this.#files.length; at++) {
      const file = this.#files[at];
      if (file === undefined || file.level === SNAPSHOT_LEVEL) continue;
      if (file.minTxid <= txid + 1n && file.maxTxid > txid) return true;
    }
    return false;
  }
}

/** One pass over all files of a replica: each is read once, verified to its end, and compared with the others. */
class Sweep {
  readonly #options: SweepOptions;
  readonly #reader: ContentReader;
  readonly #queue = new Queue();
  readonly #windows = Array.from({ length: SNAPSHOT_LEVEL }, () => new LevelWindow());
  readonly #history: History;
  readonly #findings: Finding[] = [];
  readonly #tracker: StateTracker;
  #filesRead = 0;
  #relists = 0;
  #vanished = false;

  constructor(options: SweepOptions) {
    this.#options = options;
    this.#reader = new ContentReader(options.client, options.clock);
    this.#history = new History(options.files);
    this.#tracker = new StateTracker(this.#history, this.#findings);
    this.#queue.replace(options.files);
  }

  async run(): Promise<SweepResult> {
    try {
      for (let file = this.#queue.take(); file !== undefined; file = this.#queue.take()) {
        const content = await this.#read(file);
        if (content === undefined) this.#windows[file.level]?.clear();
        else this.#compare(file, content);
        this.#options.onProgress?.(this.#reader.bytesRead, this.#queue.bytesTotal);
      }
    } finally {
      this.#reader.close();
    }
    this.#tracker.end();
    const { at, state } = this.#tracker;
    return {
      findings: this.#findings,
      filesRead: this.#filesRead,
      bytesRead: this.#reader.bytesRead,
      vanished: this.#vanished,
      newest: state === undefined ? undefined : { txid: at, state },
    };
  }

  /** Undefined if the file is gone, or is reported. */
  async #read(file: FileInfo): Promise<FileContent | undefined> {
    const { clock, signal } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        const content = await this.#reader.read(file, signal);
        this.#filesRead++;
        return content;
      } catch (error) {
        if (isLitestreamError(error, 'ERR_ABORTED')) throw error;
        const gone = isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND') || isMissing(error);
        if (gone && (await this.#isGone(file))) return undefined;
        // Once more, in case it was the way and not the file.
        const last = attempt === ATTEMPTS || (isDamage(error) && attempt > 1);
        if (last) {
          this.#report(file, error, gone);
          return undefined;
        }
        if (!isDamage(error)) await sleep(clock, RETRY_MS * attempt, signal);
      }
    }
  }

  /** Looks whether retention or compaction has removed the file; then goes on with what there is instead. */
  async #isGone(file: FileInfo): Promise<boolean> {
    const files = await this.#options.list();
    if (files.some((found) => nameOf(found) === nameOf(file))) return false;
    this.#vanished = true;
    this.#relists++;
    if (this.#relists <= RELISTS_MAX) this.#queue.replace(files);
    return true;
  }

  /** @throws the error if it says nothing about this file */
  #report(file: FileInfo, error: unknown, gone: boolean): void {
    if (!(error instanceof LitestreamError)) throw error;
    if (error.retryable && !gone) throw error;
    const misnamed = error.details['misnamed'] === true;
    const damaged = isDamage(error);
    if (damaged) this.#filesRead++;
    this.#findings.push({
      kind: misnamed ? 'misnamed' : damaged ? 'corrupt' : 'unreadable',
      severity: 'damage',
      message: gone
        ? `${fileText(file)} is listed and cannot be found`
        : `${fileText(file)}: ${errorMessage(error)}`,
      level: file.level,
      range: txidRange(file.minTxid, file.maxTxid),
      affected: this.#history.affectedBy(file),
      remedy: this.#history.remedyFor(file),
    });
  }

  #compare(file: FileInfo, content: FileContent): void {
    const { level } = file;
    const compared = level < SNAPSHOT_LEVEL && this.#compareLevels(file, content);
    if (level < SNAPSHOT_LEVEL) {
      const window = this.#windows[level];
      if (this.#queue.hasLevelAbove(level)) window?.push(file, content);
      else window?.clear();
    }
    const straddled = level === SNAPSHOT_LEVEL && this.#queue.leadsOnFrom(this.#tracker.at);
    this.#tracker.add({ file, content, straddled, compared });
  }

  /** Compares a compacted file with the files below that end where it ends. True if it differs from some. */
  #compareLevels(file: FileInfo, content: FileContent): boolean {
    let differs = false;
    for (let level = file.level - 1; level >= 0; level--) {
      const window = this.#windows[level];
      if (window?.end !== file.maxTxid) continue;
      const difference = window.compare(file, content);
      window.clear();
      if (difference.count === 0 || differs) continue;
      differs = true;
      this.#reportDifference(file, level, difference);
    }
    return differs;
  }

  #reportDifference(file: FileInfo, lower: number, difference: PageDifference): void {
    this.#findings.push({
      kind: 'differs',
      severity: 'damage',
      message: `${fileText(file)} is not what the level ${lower} files of these transactions give: ${difference.text}`,
      level: file.level,
      range: txidRange(file.minTxid, file.maxTxid),
      affected: this.#history.affectedBy(file) ?? this.#history.affectedFrom(file.maxTxid),
      remedy: this.#history.remedyFrom(file.maxTxid),
    });
  }
}

/**
 * Reads every file of a replica once, in the order of their ends, and checks
 * - every byte of it, and that it is the file that its name says;
 * - that a compacted file says what the files say that it was made of, as far as they still exist;
 * - that a snapshot is what the increments up to its TXID give.
 *
 * A file that vanishes meanwhile is no damage: the replica is listed again, and what came in its place is read. Memory: about 24 bytes
 * per page of the database, and 32 per distinct page that one compacted file's inputs hold.
 *
 * @throws LitestreamError errors of the storage that say nothing about a file, `ERR_ABORTED`
 */
export async function sweepFiles(options: SweepOptions): Promise<SweepResult> {
  return await new Sweep(options).run();
}
