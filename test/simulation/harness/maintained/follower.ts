import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { LitestreamError, errorMessage, isLitestreamError } from '../../../../src/lib/errors.ts';
import { followReplica } from '../../../../src/restore/index.ts';
import { noopLogger } from '../../../../src/telemetry/index.ts';
import { type FaultyClient, FaultyFileSystem } from '../../../../src/testing/index.ts';
import { check } from '../violation.ts';
import { CopyReader } from './copy-reader.ts';
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
  let crc = 0;
  let position = 0;
  for (const [from, to] of OWN_BYTES) {
    crc = crc32(image.subarray(position, from), crc);
    position = to;
  }
  return `${image.length}:${crc32(image.subarray(position), crc)}`;
}

const READERS_MAX = 2;

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
  /** Programs that have the copy open. */
  #readers: CopyReader[] = [];
  /** Faults of the file system are armed. */
  #faults = false;

  constructor(options: FollowerOptions) {
    this.#o = options;
    this.client = options.client;
    this.#path = join(options.world.folder, 'followed');
    this.files.onCall = () => this.#onCall();
  }

  /** A program opens the copy, if there is one. */
  openReader(): void {
    if (this.#readers.length >= READERS_MAX || !existsSync(`${this.#path}-txid`)) return;
    const find = (image: Uint8Array): bigint | undefined => this.#find(image);
    this.#readers.push(new CopyReader({ path: this.#path, find }));
    this.#o.world.tally.add('reader of the copy');
  }

  /** One of them begins a read transaction and stays in it. */
  holdReader(): void {
    if (this.#readers.length === 0) return;
    const held = this.#o.world.random.pick(this.#readers).hold();
    this.#o.world.tally.add(held ? 'copy held' : 'copy locked');
  }

  /** All of them end theirs. */
  releaseReaders(): void {
    for (const reader of this.#readers) reader.release();
    this.#o.world.tally.add('copy released');
  }

  /** The disk will fail at one of the next calls. */
  breakDisk(errno: string, nth: number): void {
    this.#faults = true;
    this.fileSystem.fail(errno, { nth });
  }

  /** Nothing is in its way any more: it reaches what the destination has. */
  async catchUp(): Promise<void> {
    this.releaseReaders();
    this.client.reset();
    this.fileSystem.reset();
    for (let round = 0; round < 2; round++) await this.follow(10);
    const { acknowledged, name } = this.#o.remote;
    check(this.#txid === acknowledged, `I7: ${name} is followed to ${acknowledged}: ${this.#txid}`);
    this.#closeReaders();
  }

  /** A few rounds. */
  async follow(rounds: number): Promise<void> {
    const { clock, tally } = this.#o.world;
    tally.add('follow');
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
      // Readers of the copy are in this thread: they cannot end anything meanwhile.
      spinMs: 0,
    };
    let failure: unknown;
    try {
      await clock.drive(followReplica(options));
    } catch (error) {
      failure = error;
    }
    timer.cancel();
    const crashed = this.fileSystem.crashed;
    const faults = this.#faults;
    this.#faults = false;
    this.fileSystem.reset();
    this.files.forget();
    check(this.files.descriptors === 0, 'E9: a follower leaves no file open');
    if (failure !== undefined && !crashed) this.#judge(failure, faults);
    this.#check();
  }

  /** Somebody deletes the copy. */
  forget(): void {
    this.#closeReaders();
    for (const suffix of ['', '-txid', '-journal', '.tmp', '-txid.tmp']) {
      rmSync(`${this.#path}${suffix}`, { force: true });
    }
    this.#txid = 0n;
  }

  /** Between any two of its calls. */
  #onCall(): void {
    const { random, seen } = this.#o.world;
    if (this.#readers.length === 0 || !random.chance(0.1)) return;
    const found = random.pick(this.#readers).look();
    seen.add(found === undefined ? 'reader kept out' : 'reader looked');
  }

  #closeReaders(): void {
    for (const reader of this.#readers) reader.close();
    this.#readers = [];
  }

  /** The newest TXID of a committed state. */
  #find(image: Uint8Array): bigint | undefined {
    const key = followedKey(image);
    let newest: bigint | undefined;
    for (const [txid, state] of this.#o.remote.followed) {
      if (state === key && (newest === undefined || txid > newest)) newest = txid;
    }
    return newest;
  }

  #judge(failure: unknown, faults: boolean): void {
    const text = errorMessage(failure);
    const injected =
      isLitestreamError(failure) && ['ERR_IO', 'ERR_DISK_FULL'].includes(failure.code);
    if (injected && faults) return;
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
    // A crash between the two leaves the bookmark behind the database.
    const found = this.#find(image) ?? -1n;
    check(
      found >= bookmark || remote.states.size === 0,
      'I6: a followed database is a committed state',
    );
    for (const reader of this.#readers) {
      const sees = reader.look();
      const up = sees !== undefined && sees >= bookmark;
      check(up || reader.holds, `I6: a reader that stays sees ${bookmark}, not ${sees}`);
    }
    check(
      bookmark >= this.#txid,
      `I7: a follower does not go back from ${this.#txid} to ${bookmark}`,
    );
    this.#txid = bookmark;
    world.seen.add('followed');
  }
}
