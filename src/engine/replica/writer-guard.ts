import { formatFileName, toTxid, type Txid } from '../../formats/ltx/index.ts';
import { type Clock, sleep } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import type { FileInfo, FileKey, ReplicaClient, WriteSource } from '../../storage/index.ts';
import { sameContent, writerConflict } from './two-writers.ts';

/**
 * So long an acknowledged upload proves that nobody else writes here. Another writer may delete its files of level 0 later, except the
 * newest: then a number of ours is free although it was used.
 */
const PROOF_MS_MAX = 120_000;
const LEVEL_MAX = 9;
/** Taking back a file that should not be there does not hold anything up for longer. */
const TAKE_BACK_MS_MAX = 10_000;

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
  readonly #ahead = new Map<string, FileKey>();
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
    const wasTried = this.#ahead.has(name);
    this.#ahead.set(name, key);
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
    this.#ahead.delete(name);
    // Two snapshots of one state need not be equal: it was ours.
    if (wasTried && key.level > 0) {
      await this.#client.delete([key], { signal });
      return this.writeNew(key, source, signal);
    }
    throw await this.#found(key.minTxid);
  }

  /**
   * Stores a snapshot of a state ahead of the position, then lets `claim` take its number in level 0. Without that number the snapshot
   * must not stay: another writer could use it for a different state.
   *
   * @throws LitestreamError what `claim` throws, or of the store
   */
  async writeAhead<T>(
    { key, source }: { readonly key: FileKey; readonly source: WriteSource },
    claim: () => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly file: FileInfo; readonly claimed: T }> {
    try {
      const file = await this.writeNew(key, source, signal);
      const claimed = await claim();
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

  #written(key: FileKey): void {
    // A snapshot stays in doubt until its number is ours.
    if (key.level === 0) this.#ahead.delete(nameOf(key));
    this.proven();
  }

  async #found(txid: Txid): Promise<LitestreamError> {
    this.#conflict ??= writerConflict(this.#client, txid);
    await this.#takeBack();
    return this.#conflict;
  }

  /** Deletes what is ours above level 0 and ahead of the position, if the store lets us. */
  async #takeBack(): Promise<void> {
    const keys = [...this.#ahead.values()].filter(({ level }) => level > 0);
    if (keys.length === 0) return;
    const bound = new AbortController();
    const text = `replica ${this.#client.location} did not answer in ${TAKE_BACK_MS_MAX / 1000} s`;
    const timer = this.#clock.timer(TAKE_BACK_MS_MAX, () =>
      bound.abort(new LitestreamError('ERR_TIMEOUT', text)),
    );
    try {
      await this.#client.delete(keys, { signal: bound.signal });
      for (const key of keys) this.#ahead.delete(nameOf(key));
    } catch {
      // It stays known as ours; the next try puts another one in its place.
    } finally {
      timer.cancel();
    }
  }
}

function nameOf({ level, maxTxid, minTxid }: FileKey): string {
  return `${level}/${formatFileName(minTxid, maxTxid)}`;
}
