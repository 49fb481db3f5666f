import { NO_TXID, type Txid } from '../formats/ltx/index.ts';
import { isAborted, sleep } from '../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError, wrapError } from '../lib/errors.ts';
import { FollowedDatabase } from '../sqlite/index.ts';
import type { FileInfo } from '../storage/index.ts';
import { DurationValue } from '../telemetry/index.ts';
import { readBookmark, removeBookmark, writeBookmark } from './follow-bookmark.ts';
import { FetchedFile } from './follow-file.ts';
import {
  checkBookmark,
  type Continuation,
  lookAtLevel0,
  lookEverywhere,
  stalled,
} from './follow-source.ts';
import { restoreDatabase, type RestoreOptions } from './restore.ts';
import { isGone, type SourceContext } from './source.ts';

/** An empty level 0 usually means that nothing is new. How often the other levels are asked nevertheless. */
const LOOK_EVERYWHERE_MS = 5_000;
/** Rounds without progress although the replica is ahead, before that is an error: a listing may fall into a compaction. */
const STALLED_ROUNDS = 3;
/** The same error is logged at most so often. */
const LOG_EVERY_MS = 30_000;
const DEFAULT_INTERVAL_MS = 1_000;

export interface FollowOptions extends Omit<RestoreOptions, 'target' | 'force' | 'rollbackMode'> {
  /** Ends following: `followReplica` then returns. */
  readonly signal: AbortSignal;
  /** Time between two looks at the replica, default and for values ≤ 0: 1 s. */
  readonly intervalMs?: number;
  /** Called when the first restore is over; never after a resume. */
  readonly onRestored?: () => void;
  /** How long one try of the output's lock may block the thread. Default 4 ms; 0 if its readers are in this very thread. */
  readonly spinMs?: number | undefined;
}

export interface FollowResult {
  /** The state that the output holds. */
  readonly txid: Txid;
}

/** Says what goes wrong, but not every time. */
class FollowErrors {
  readonly #options: FollowOptions;
  #count = 0;
  #last = '';
  #loggedAt = -Infinity;

  constructor(options: FollowOptions) {
    this.#options = options;
  }

  failed(error: unknown): void {
    const { clock, logger } = this.#options;
    this.#count += 1;
    const err = errorMessage(error);
    const now = clock.monotonic();
    if (err === this.#last && now - this.#loggedAt < LOG_EVERY_MS) return;
    this.#last = err;
    this.#loggedAt = now;
    const hint = error instanceof LitestreamError ? error.hint : undefined;
    logger.log('error', 'follow: error applying updates', {
      err,
      consecutive_errors: this.#count,
      hint,
    });
  }

  succeeded(): void {
    this.#count = 0;
    this.#last = '';
    this.#loggedAt = -Infinity;
  }
}

/** Keeps one open database up to date. */
class Follower {
  readonly #options: FollowOptions;
  readonly #database: FollowedDatabase;
  readonly #context: SourceContext;
  readonly #intervalMs: number;
  readonly #errors: FollowErrors;
  #txid: Txid;
  #lookedAt = -Infinity;
  #stalledRounds = 0;

  constructor(options: FollowOptions, database: FollowedDatabase, txid: Txid) {
    const { client, fileSystem, clock, signal, intervalMs = DEFAULT_INTERVAL_MS } = options;
    this.#options = options;
    this.#database = database;
    this.#txid = txid;
    this.#context = { client, fileSystem, clock, signal };
    this.#intervalMs = intervalMs > 0 ? intervalMs : DEFAULT_INTERVAL_MS;
    this.#errors = new FollowErrors(options);
  }

  get txid(): Txid {
    return this.#txid;
  }

  /** Until the signal fires. Throws only what will not go away. */
  async run(): Promise<void> {
    const { clock, logger, signal, outputPath } = this.#options;
    const interval = new DurationValue(this.#intervalMs);
    logger.log('info', 'entering follow mode', { output: outputPath, txid: this.#txid, interval });
    while (!isAborted(signal)) {
      await this.#round();
      try {
        await sleep(clock, this.#intervalMs, signal);
      } catch {
        break;
      }
    }
  }

  async #round(): Promise<void> {
    const before = this.#txid;
    try {
      await this.#database.prepare(this.#options.signal);
      await this.#advance();
      this.#errors.succeeded();
    } catch (error) {
      if (isAborted(this.#options.signal)) return;
      if (isLitestreamError(error, 'ERR_DB_NOT_FOUND')) throw error;
      this.#errors.failed(error);
    } finally {
      if (this.#txid > before) {
        this.#options.logger.log('info', 'follow: applied updates', {
          from_txid: before,
          to_txid: this.#txid,
        });
      }
    }
  }

  async #advance(): Promise<void> {
    const found = await this.#look();
    const before = this.#txid;
    await this.#applyAll(found.files);
    if (this.#txid > before || found.newest <= this.#txid) {
      this.#stalledRounds = 0;
      return;
    }
    this.#stalledRounds += 1;
    if (this.#stalledRounds < STALLED_ROUNDS) return;
    if (found.snapshot === undefined) throw stalled(this.#txid, found);
    await this.#reseed(found.snapshot);
  }

  async #look(): Promise<Continuation> {
    const { client, clock, signal } = this.#options;
    const found = await lookAtLevel0(client, this.#txid, { signal });
    if (found.files.length > 0 && found.next === undefined) return found;
    const isDue =
      this.#stalledRounds > 0 || clock.monotonic() - this.#lookedAt >= LOOK_EVERYWHERE_MS;
    if (found.next === undefined && !isDue) return found;
    this.#lookedAt = clock.monotonic();
    return await lookEverywhere(client, this.#txid, { signal });
  }

  async #applyAll(files: readonly FileInfo[]): Promise<void> {
    for (const file of files) {
      // Where compaction or retention was faster, the next look finds what holds these transactions now.
      if (isAborted(this.#options.signal) || !(await this.#apply(file))) return;
    }
  }

  /** The transactions that lead on exist only inside a snapshot: takes the database to the snapshot's state in one step. */
  async #reseed(snapshot: FileInfo): Promise<void> {
    this.#options.logger.log('warn', 'follow: history was pruned, going on from a snapshot', {
      from_txid: this.#txid,
      to_txid: snapshot.maxTxid,
    });
    if (await this.#apply(snapshot)) this.#stalledRounds = 0;
  }

  /** False if the file is gone. */
  async #apply(file: FileInfo): Promise<boolean> {
    const { fileSystem, outputPath, signal } = this.#options;
    await using fetched = await this.#fetch(file);
    if (fetched === undefined) return false;
    await this.#database.apply(fetched, signal);
    await writeBookmark(fileSystem, outputPath, file.maxTxid);
    this.#txid = file.maxTxid;
    return true;
  }

  async #fetch(file: FileInfo): Promise<FetchedFile | undefined> {
    try {
      return await FetchedFile.fetch(this.#context, file, `${this.#options.outputPath}.tmp`);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }
}

/** First restore: the latest state, in rollback-journal mode before it has its name. */
async function restoreFirst(options: FollowOptions): Promise<Txid> {
  const { fileSystem, outputPath } = options;
  await removeBookmark(fileSystem, outputPath);
  const { plan } = await restoreDatabase({
    ...options,
    target: {},
    // There is no output; sidecars of an earlier one must go.
    force: true,
    rollbackMode: true,
  });
  await writeBookmark(fileSystem, outputPath, plan.maxTxid);
  options.onRestored?.();
  return plan.maxTxid;
}

async function resume(options: FollowOptions): Promise<Txid> {
  const { client, fileSystem, outputPath, logger, signal } = options;
  const txid = await readBookmark(fileSystem, outputPath);
  if (txid === NO_TXID) {
    throw new LitestreamError(
      'ERR_OUTPUT_EXISTS',
      `cannot resume follow mode: database exists but no -txid file found; delete the database to re-restore: ${outputPath}`,
      { details: { path: outputPath } },
    );
  }
  let found: Continuation;
  try {
    found = await lookEverywhere(client, txid, { signal });
  } catch (error) {
    // Told to stop meanwhile, which is no failure: there is an output, and a bookmark.
    if (isAborted(signal)) return txid;
    throw wrapError('cannot validate saved TXID for crash recovery', error);
  }
  checkBookmark(txid, found, outputPath);
  logger.log('info', 'resuming follow mode from crash recovery', { txid, output: outputPath });
  return txid;
}

/**
 * Restores a database and keeps it up to date until the signal fires; goes on where an earlier run ended if the output exists.
 * Other processes may read the output all the time: they see each applied file as one transaction, also after a crash of
 * this process.
 *
 * The position is kept in `OUT-txid`, written after the state that it names is durable. Errors in between are logged and tried
 * again; so is a replica that is ahead although nothing leads on, unless a snapshot does.
 *
 * Spec: replication 23.6 (W-12), cli 6.5, formats 5.3, failures VFS-01 … VFS-04 and VFS-15.
 *
 * @returns when the signal has fired
 * @throws LitestreamError as `restoreDatabase` for the first restore (also `ERR_ABORTED`), `ERR_OUTPUT_EXISTS` if it
 *   cannot resume, `ERR_TXID`, `ERR_DB_NOT_FOUND` if the output was removed or replaced.
 */
export async function followReplica(options: FollowOptions): Promise<FollowResult> {
  const { fileSystem, clock, logger, outputPath, spinMs } = options;
  if (outputPath === '') throw new LitestreamError('ERR_USAGE', 'output path required');
  const exists = (await fileSystem.stat('follow:stat', outputPath)) !== undefined;
  const txid = exists ? await resume(options) : await restoreFirst(options);
  const database = await FollowedDatabase.open(outputPath, { fileSystem, clock, spinMs });
  const follower = new Follower(options, database, txid);
  try {
    await follower.run();
  } finally {
    await database.close();
  }
  logger.log('info', 'follow mode stopped');
  return { txid: follower.txid };
}
