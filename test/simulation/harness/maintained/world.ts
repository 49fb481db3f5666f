import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { StoreOptions } from '../../../../src/engine/index.ts';
import { decodeLtxFile, formatTxid } from '../../../../src/formats/ltx/index.ts';
import { isLitestreamError, errorMessage } from '../../../../src/lib/errors.ts';
import { FaultyClient, MemoryClient, type MemoryObject } from '../../../../src/testing/index.ts';
import { SimulatedClock } from '../clock.ts';
import { imageKey } from '../history.ts';
import { Random } from '../random.ts';
import { Tally } from '../tally.ts';
import { check, Violation } from '../violation.ts';
import { followedKey, Follower } from './follower.ts';
import { fileOf, imageOf, Remote } from './remote.ts';
import { WatchedFiles } from './watched-files.ts';
import { Writer } from './writer.ts';

export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 86_400_000;
const SNAPSHOT_LEVEL = 9;

export interface WorldOptions {
  readonly seed: number;
  /** A folder for the run, in memory if possible. */
  readonly folder: string;
  /** Another database may be given the same destinations. Default false. */
  readonly contested?: boolean | undefined;
  /** Mostly followers, with readers that stay. Default false. */
  readonly followed?: boolean | undefined;
}

/** Databases, daemons, destinations and followers, and what must hold for them. */
export class World {
  readonly random: Random;
  readonly clock: SimulatedClock = new SimulatedClock();
  readonly folder: string;
  readonly remotes: readonly Remote[];
  readonly writer: Writer;
  readonly store: StoreOptions;
  readonly follower: Follower;
  /** For what is no daemon's. */
  readonly files: WatchedFiles = new WatchedFiles();
  /** The other database whose daemon was given the same destinations. */
  rival: Writer | undefined;
  /** The wall clock may be set in this run. */
  readonly jumps: boolean;
  /** Another database may be given the same destinations in this run. */
  readonly contested: boolean;
  readonly followed: boolean;
  /** What was done, for the report of a failure. */
  readonly steps: string[] = [];
  readonly tally: Tally = new Tally();
  /** How often what is to be checked was there. */
  readonly seen: Tally = new Tally();
  #active: Writer | undefined;

  constructor({ contested = false, followed = false, folder, seed }: WorldOptions) {
    const random = new Random(seed);
    this.random = random;
    this.folder = mkdtempSync(join(folder, `run-${seed}-`));
    mkdirSync(join(this.folder, 'restored'));
    mkdirSync(join(this.folder, 'verify'));
    this.jumps = random.chance(0.2);
    this.contested = contested;
    this.followed = followed;
    this.store = {
      databases: [],
      shutdownSyncTimeoutMs: 0,
      shutdownSyncIntervalMs: 0,
      levels: [
        { level: 1, intervalMs: 30_000 },
        { level: 2, intervalMs: 5 * MINUTE },
        { level: 3, intervalMs: HOUR },
      ],
      snapshotIntervalMs: random.pick([2 * HOUR, DAY]),
      snapshotRetentionMs: random.pick([6 * HOUR, DAY, 3 * DAY]),
      l0RetentionMs: 5 * MINUTE,
      l0RetentionCheckIntervalMs: 15_000,
      retentionEnabled: true,
      verifyCompaction: random.chance(0.5),
      monitors: false,
      // Every other run has databases that count as large.
      wholeFileBytesMin: seed % 2 === 0 ? 0 : undefined,
    };
    this.remotes = Array.from({ length: random.pick([1, 2]) }, (_, at) => new Remote(`r${at}`));
    for (const remote of this.remotes) {
      remote.store.onWrite = (name, before, now) => this.#written(remote, name, before, now);
      remote.store.onDelete = (name) => this.#deleted(remote, name);
    }
    this.writer = this.makeWriter('first');
    this.follower = new Follower({
      world: this,
      remote: this.remote(0),
      client: new FaultyClient(new MemoryClient({ store: this.remote(0).store, path: 'r0' })),
    });
  }

  makeWriter(name: string): Writer {
    const { clock, random, remotes, store, tally } = this;
    const folder = join(this.folder, name);
    return new Writer({ folder, clock, random, remotes, store, tally });
  }

  remote(index: number): Remote {
    const remote = this.remotes[index];
    check(remote !== undefined, 'the destination exists');
    return remote;
  }

  /** Lets a daemon work. What it says went wrong must be what was done to it. */
  async work(
    writer: Writer,
    body: (signal: AbortSignal) => Promise<unknown>,
  ): Promise<'ok' | 'failed' | 'dead'> {
    this.#active = writer;
    const failure = await writer.work(body);
    this.#active = undefined;
    if (writer.fileSystem.crashed) {
      await writer.stop(true);
      return 'dead';
    }
    if (failure === undefined) return 'ok';
    await this.judge(writer, failure);
    return 'failed';
  }

  /** Everything committed is in local files. */
  async sync(writer: Writer): Promise<boolean> {
    this.tally.add('sync');
    const outcome = await this.work(writer, (signal) => writer.database.sync(signal));
    if (outcome !== 'ok') return false;
    const { txid, history } = writer;
    const entry = writer.local.entries.get(txid);
    const wanted = history.key(history.last);
    check(entry?.key === wanted, `E1: synced at ${txid}, and that is the newest committed state`);
    return true;
  }

  /** Everything captured is in one destination. */
  async upload(writer: Writer, index: number): Promise<boolean> {
    const { txid } = writer;
    const replica = writer.database.replicas[index];
    check(replica !== undefined, 'the replica is configured');
    if (txid === 0n) return false;
    this.tally.add('upload');
    const outcome = await this.work(writer, (signal) =>
      writer.database.syncReplica(replica, txid, signal),
    );
    if (!writer.running) return false;
    const { position } = replica;
    if (position !== undefined) check(position <= writer.txid, 'E5: a position is not ahead');
    if (outcome !== 'ok' || position === undefined) return false;
    const remote = this.remote(index);
    if (position > remote.acknowledged) remote.acknowledged = position;
    return true;
  }

  /** The daemon ends. */
  async stop(writer: Writer, dead: boolean): Promise<void> {
    this.#active = writer;
    await writer.stop(dead);
    this.#active = undefined;
    if (dead) return;
    const left = writer.temporaryFiles();
    // What a crash left goes at the first sync.
    check(left.length === 0 || writer.txid === 0n, `E9: no temporary file stays: ${left.join()}`);
  }

  /** Decides whether a daemon may fail like this. */
  async judge(writer: Writer, failure: unknown): Promise<void> {
    const text = errorMessage(failure);
    if (/injected fault|did not answer in/.test(text)) return;
    const injected =
      isLitestreamError(failure) && ['ERR_IO', 'ERR_DISK_FULL'].includes(failure.code);
    if (injected && writer.faults) {
      writer.fileSystem.reset();
      writer.faults = false;
      return;
    }
    if (isLitestreamError(failure, 'ERR_WRITER_CONFLICT') && this.rival !== undefined) {
      this.seen.add('conflict told');
      return;
    }
    // A newer history is read from a destination in which something is broken.
    if (isLitestreamError(failure, 'ERR_WRITER_CONFLICT') && this.remotes.some((r) => r.harm)) {
      this.seen.add('conflict after harm');
      return;
    }
    const stack = failure instanceof Error ? failure.stack : '';
    throw new Violation(`the daemon failed: ${text}\n${stack}`, { cause: failure });
  }

  /** Removes the run's files. */
  clean(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Nothing of a restore or a verification stays. */
  checkNothingLeft(): void {
    for (const folder of ['restored', 'verify']) {
      const left = readdirSync(join(this.folder, folder));
      check(left.length === 0, `E9: nothing stays in ${folder}: ${left.join()}`);
    }
    check(this.files.descriptors === 0, 'E9: no file stays open');
  }

  #deleted(remote: Remote, name: string): void {
    remote.damaged.delete(name);
    const key = fileOf(name);
    if (key?.level !== SNAPSHOT_LEVEL) return;
    if (key.maxTxid > remote.floor) remote.floor = key.maxTxid;
    // A snapshot that is taken back, because its history was given up, is younger.
    const cutoffMs = this.clock.now() - this.store.snapshotRetentionMs;
    const createdAt = remote.store.get(name)?.createdAt ?? Infinity;
    if (createdAt < cutoffMs && key.maxTxid > remote.expired) remote.expired = key.maxTxid;
  }

  /** Looks at every object as it is stored. */
  #written(
    remote: Remote,
    name: string,
    before: MemoryObject | undefined,
    now: MemoryObject,
  ): void {
    const writer = this.#active;
    const key = fileOf(name);
    check(key !== undefined, `${name} has the name of a file`);
    check(writer !== undefined, `${name} is written by a daemon`);
    const { level, maxTxid } = key;
    const what = `${name} of ${remote.name}`;
    const entry = writer.local.entries.get(maxTxid);
    if (level === 0 && before !== undefined && !remote.damaged.has(name)) {
      const same = Buffer.compare(before.bytes, now.bytes) === 0;
      check(same, `E10: ${what} is not replaced by other content`);
    }
    remote.damaged.delete(name);
    if (level === 0 || level === SNAPSHOT_LEVEL) {
      check(entry !== undefined, `${what} stands for a local file`);
      if (level === 0 && key.minTxid === maxTxid) {
        check(Buffer.compare(entry.bytes, now.bytes) === 0, `${what} has the local file's bytes`);
      }
      if (level === SNAPSHOT_LEVEL) {
        const image = imageOf(decodeLtxFile(now.bytes));
        check(imageKey(image) === entry.key, `E11: ${what} is the state of ${formatTxid(maxTxid)}`);
      }
      const known = remote.states.get(maxTxid);
      const ours = known === undefined || known === entry.key;
      check(ours, `E10: ${what} continues the history of the destination`);
      remote.states.set(maxTxid, entry.key);
      // What was fetched from somebody else has no image of ours.
      if (known === undefined && entry.image.length > 0) {
        remote.followed.set(maxTxid, followedKey(entry.image));
      }
    }
    check(remote.states.has(maxTxid), `${what} ends where a transaction ended`);
  }
}
