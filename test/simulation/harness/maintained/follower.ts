import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { LitestreamError, errorMessage, isLitestreamError } from '../../../../src/lib/errors.ts';
import { followReplica } from '../../../../src/restore/index.ts';
import { noopLogger } from '../../../../src/telemetry/index.ts';
import { type FaultyClient, FaultyFileSystem } from '../../../../src/testing/index.ts';
import { imageKey } from '../history.ts';
import { check } from '../violation.ts';
import type { Remote } from './remote.ts';
import { WatchedFiles } from './watched-files.ts';
import type { World } from './world.ts';

/** Where a followed database differs: versions of reading and writing, change counter, who counted last. */
const OWN_BYTES = [
  [18, 20],
  [24, 28],
  [92, 100],
] as const;

/** Digest of a state without what a follower writes itself. */
export function followedKey(image: Uint8Array): string {
  const copy = Buffer.from(image);
  for (const [from, to] of OWN_BYTES) copy.fill(0, from, to);
  return imageKey(copy);
}

export interface FollowerOptions {
  readonly world: World;
  readonly remote: Remote;
  readonly client: FaultyClient;
}

/** A process that follows one destination, started and ended again and again. */
export class Follower {
  readonly client: FaultyClient;
  readonly files: WatchedFiles = new WatchedFiles();
  readonly fileSystem: FaultyFileSystem = new FaultyFileSystem(this.files);
  readonly #o: FollowerOptions;
  readonly #path: string;
  #txid = 0n;

  constructor(options: FollowerOptions) {
    this.#o = options;
    this.client = options.client;
    this.#path = join(options.world.folder, 'followed');
  }

  /** A few rounds. */
  async follow(rounds: number): Promise<void> {
    const { clock } = this.#o.world;
    const stop = new AbortController();
    const timer = clock.timer(rounds * 1000, () =>
      stop.abort(new LitestreamError('ERR_ABORTED', 'context canceled')),
    );
    const options = {
      client: this.client,
      outputPath: this.#path,
      fileSystem: this.fileSystem,
      clock,
      logger: noopLogger,
      signal: stop.signal,
    };
    let failure: unknown;
    try {
      await clock.drive(followReplica(options));
    } catch (error) {
      failure = error;
    }
    timer.cancel();
    const crashed = this.fileSystem.crashed;
    this.fileSystem.reset();
    this.files.forget();
    check(this.files.descriptors === 0, 'E9: a follower leaves no file open');
    if (failure !== undefined && !crashed) this.#judge(failure);
    this.#check();
  }

  /** Somebody deletes the copy. */
  forget(): void {
    for (const suffix of ['', '-txid', '-journal', '.tmp', '-txid.tmp']) {
      rmSync(`${this.#path}${suffix}`, { force: true });
    }
    this.#txid = 0n;
  }

  #judge(failure: unknown): void {
    const text = errorMessage(failure);
    if (text.includes('injected fault') || isLitestreamError(failure, 'ERR_ABORTED')) return;
    const { remote } = this.#o;
    const refused = isLitestreamError(failure);
    check(refused, `a follower fails with a code: ${text}`);
    const nothing = remote.store.size === 0 || remote.harm !== undefined;
    const crashedBefore = failure.code === 'ERR_OUTPUT_EXISTS';
    check(nothing || crashedBefore, `a follower goes on: ${text}`);
    // The operator begins again.
    if (crashedBefore) this.forget();
  }

  /** The copy is a committed state, and not an older one than before. */
  #check(): void {
    const { remote, world } = this.#o;
    let bookmark: bigint;
    try {
      bookmark = BigInt(`0x${readFileSync(`${this.#path}-txid`, 'utf8').trim()}`);
    } catch {
      return;
    }
    let image: Uint8Array;
    const db = new DatabaseSync(this.#path);
    try {
      image = db.serialize();
    } finally {
      db.close();
    }
    const key = followedKey(image);
    // A crash between the two leaves the bookmark behind the database.
    const txids = [...remote.followed].filter(([txid, state]) => state === key && txid >= bookmark);
    check(
      txids.length > 0 || remote.states.size === 0,
      'I6: a followed database is a committed state',
    );
    check(
      bookmark >= this.#txid,
      `I7: a follower does not go back from ${this.#txid} to ${bookmark}`,
    );
    this.#txid = bookmark;
    world.count('followed');
  }
}
