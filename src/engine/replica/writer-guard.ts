import { formatFileName, toTxid, type Txid } from '../../formats/ltx/index.ts';
import { type Clock, sleep } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import type { FileInfo, FileKey, ReplicaClient, WriteSource } from '../../storage/index.ts';
import { isOneOf, markOf, sameContent, writerConflict } from './two-writers.ts';

/**
 * So long an acknowledged upload proves that nobody else writes here. Another writer may delete its files of level 0 later, except the
 * newest: then a number of ours is free although it was used.
 */
const PROOF_MS_MAX = 120_000;
const LEVEL_MAX = 9;
/** Finding out what became of an upload, and taking back what should not be there, do not hold anything up for longer. */
const SETTLE_MS_MAX = 10_000;

/** A file that we tried to write: it may be there. */
interface Attempt {
  readonly key: FileKey;
  /** Of a level-0 file: what was written. */
  readonly source: WriteSource | undefined;
  /** Of a snapshot: what tells each of its versions that were tried. */
  readonly marks: Set<string>;
  /** It took the number of a snapshot ahead of the position. */
  isClaim: boolean;
}

/** A snapshot ahead of the position. */
export interface AheadOfPosition {
  readonly key: FileKey;
  readonly source: WriteSource;
}

/**
 * Keeps the files of two writers apart in one replica: everything new goes up under a name that must not exist, and behind our
 * position there is nothing that we did not try to write ourselves. Once another writer was found nothing is written any more.
 *
 * Spec: design B2, failures OPS-19.
 */
export class WriterGuard {
  readonly #client: ReplicaClient;
  readonly #clock: Clock;
  /** Files behind our position that are ours, or may be: an upload that failed may have worked all the same. */
  readonly #ahead = new Map<string, Attempt>();
  #conflict: LitestreamError | undefined;
  #provenAt: { readonly monotonic: number; readonly wall: number } | undefined;

  constructor(client: ReplicaClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** Another writer was found, or a lease was lost. */
  get conflict(): LitestreamError | undefined {
    return this.#conflict;
  }

  /** Notes that the replica was looked at now. */
  proven(): void {
    this.#provenAt = { monotonic: this.#clock.monotonic(), wall: this.#clock.now() };
  }

  /** @throws LitestreamError if another writer was found */
  check(): void {
    if (this.#conflict !== undefined) throw this.#conflict;
  }

  /**
   * Stores a file that must not exist yet. An equal one is ours: an acknowledgement was lost.
   *
   * @throws LitestreamError `ERR_WRITER_CONFLICT` if another one is there
   */
  async writeNew(
    key: FileKey,
    source: WriteSource,
    signal: AbortSignal | undefined,
  ): Promise<FileInfo> {
    const name = nameOf(key);
    const earlier = await this.#trying(key, source, signal);
    try {
      const file = await this.#client.write(key, source, { signal, ifAbsent: true });
      this.#written(key);
      return file;
    } catch (error) {
      if (isLitestreamError(error, 'ERR_LEASE_NOT_HELD')) this.#conflict = error;
      if (!isLitestreamError(error, 'ERR_STORAGE_EXISTS')) throw error;
    }
    const same = await sameContent(this.#client, key, source, signal);
    if (same !== undefined) {
      this.#written(key);
      return same;
    }
    // Two snapshots of one state need not be equal: it is ours if it is one of those that were tried before.
    const isOurs = await isOneOf(earlier, this.#client, key, signal);
    this.#ahead.delete(name);
    if (isOurs) {
      await this.#client.delete([key], { signal });
      return this.writeNew(key, source, signal);
    }
    throw await this.#found(key.minTxid);
  }

  /**
   * Stores a snapshot of a state ahead of the position, then lets `claim` take its number in level 0. Without that number the snapshot
   * must not stay: another writer could use it for a different state. And the number must not stay without the snapshot: nothing
   * would lead to it.
   *
   * @param claim - uploads the level-0 file of the snapshot's TXID; undefined if there is none any more
   * @throws LitestreamError what `claim` throws, or of the store
   */
  async writeAhead(
    { key, source }: AheadOfPosition,
    claim: () => Promise<FileInfo | undefined>,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly file: FileInfo; readonly claimed: FileInfo | undefined }> {
    try {
      const file = await this.writeNew(key, source, signal);
      const claimed = await this.#settled({ ...key, level: 0, minTxid: key.maxTxid }, claim);
      this.#ahead.delete(nameOf(key));
      return { file, claimed };
    } catch (error) {
      await this.#takeBack();
      throw error;
    }
  }

  /** Before an upload behind `position`: looks for another writer if the last proof is old. */
  async beforeUpload(position: Txid, signal: AbortSignal | undefined): Promise<void> {
    this.check();
    const proven = this.#provenAt;
    if (proven !== undefined) {
      const [age, wallAge] = [
        this.#clock.monotonic() - proven.monotonic,
        this.#clock.now() - proven.wall,
      ];
      // The monotonic clock may stand still while the machine sleeps.
      if (age <= PROOF_MS_MAX && wallAge >= 0 && wallAge <= PROOF_MS_MAX) return;
    }
    await this.#look(0, position, signal);
    this.proven();
  }

  /** Waits, then looks whether somebody goes on behind `position`. @throws LitestreamError `ERR_WRITER_CONFLICT` */
  async watch(position: Txid, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
    await sleep(this.#clock, waitMs, signal);
    await this.#look(0, position, signal);
    this.proven();
  }

  /** Looks at all levels for what is behind `position` and not ours. @throws LitestreamError `ERR_WRITER_CONFLICT` */
  async lookEverywhere(position: Txid, signal: AbortSignal | undefined): Promise<void> {
    this.check();
    for (let level = 0; level <= LEVEL_MAX; level++) await this.#look(level, position, signal);
    this.proven();
  }

  /** @throws LitestreamError `ERR_WRITER_CONFLICT`, now and from now on */
  async fail(txid: Txid): Promise<never> {
    throw await this.#found(txid);
  }

  async #look(level: number, position: Txid, signal: AbortSignal | undefined): Promise<void> {
    // Above level 0 a file may begin below the position and end behind it.
    const seek = toTxid(level === 0 ? position + 1n : 1n);
    for await (const file of this.#client.list(level, { seek, signal })) {
      if (file.maxTxid <= position || this.#ahead.has(nameOf(file))) continue;
      throw await this.#found(file.maxTxid);
    }
  }

  /** Notes that a file is about to be written; returns what tells the versions of it that were tried before. */
  async #trying(
    key: FileKey,
    source: WriteSource,
    signal: AbortSignal | undefined,
  ): Promise<readonly string[]> {
    const name = nameOf(key);
    if (key.level === 0) {
      const isClaim = this.#ahead.get(name)?.isClaim ?? false;
      this.#ahead.set(name, { key, source, marks: new Set(), isClaim });
      return [];
    }
    const mark = await markOf(source, signal);
    const marks = this.#ahead.get(name)?.marks ?? new Set();
    const earlier = [...marks];
    this.#ahead.set(name, { key, source: undefined, marks: marks.add(mark), isClaim: false });
    return earlier;
  }

  #written(key: FileKey): void {
    // A snapshot stays in doubt until its number is ours.
    if (key.level === 0) this.#ahead.delete(nameOf(key));
    this.proven();
  }

  /** Takes a number. If only the acknowledgement got lost, it is ours all the same. */
  async #settled(
    key: FileKey,
    claim: () => Promise<FileInfo | undefined>,
  ): Promise<FileInfo | undefined> {
    try {
      return await claim();
    } catch (error) {
      const attempt = this.#ahead.get(nameOf(key));
      if (attempt === undefined || this.#conflict !== undefined) throw error;
      attempt.isClaim = true;
      const stored = await this.#bounded((signal) => this.#isStored(attempt, signal));
      if (stored === undefined) throw error;
      this.#written(key);
      return stored;
    }
  }

  async #isStored({ key, source }: Attempt, signal: AbortSignal): Promise<FileInfo | undefined> {
    return source === undefined ? undefined : sameContent(this.#client, key, source, signal);
  }

  async #found(txid: Txid): Promise<LitestreamError> {
    this.#conflict ??= writerConflict(this.#client, txid);
    await this.#takeBack();
    return this.#conflict;
  }

  /** Deletes what is ours and ahead of the position: snapshots, and the numbers that stood for them. As far as the store lets us. */
  async #takeBack(): Promise<void> {
    const attempts = [...this.#ahead.values()];
    const snapshots = attempts.filter(({ key }) => key.level > 0);
    await this.#bounded((signal) => this.#delete(snapshots, signal));
    for (const attempt of attempts.filter(({ isClaim }) => isClaim)) {
      await this.#bounded(async (signal) => {
        // No proof, no deletion: it may be another writer's by now.
        if ((await this.#isStored(attempt, signal)) === undefined) return;
        await this.#delete([attempt], signal);
      });
    }
  }

  async #delete(attempts: readonly Attempt[], signal: AbortSignal): Promise<void> {
    if (attempts.length === 0) return;
    const keys = attempts.map(({ key }) => key);
    await this.#client.delete(keys, { signal });
    for (const key of keys) this.#ahead.delete(nameOf(key));
  }

  /**
   * Whatever the caller's signal says, but not for long. Undefined if it fails: what was tried stays known as ours, and is looked at
   * again by the next try.
   */
  async #bounded<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    const bound = new AbortController();
    const text = `replica ${this.#client.location} did not answer in ${SETTLE_MS_MAX / 1000} s`;
    const timer = this.#clock.timer(SETTLE_MS_MAX, () =>
      bound.abort(new LitestreamError('ERR_TIMEOUT', text)),
    );
    try {
      return await work(bound.signal);
    } catch {
      return undefined;
    } finally {
      timer.cancel();
    }
  }
}

function nameOf({ level, maxTxid, minTxid }: FileKey): string {
  return `${level}/${formatFileName(minTxid, maxTxid)}`;
}
