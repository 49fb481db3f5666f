import { basename } from 'node:path';
import {
  coverage,
  covers,
  isMassDeletion,
  planLevel0Retention,
  planLevelRetention,
  planSnapshotRetention,
  type LevelGap,
} from '../../compaction/index.ts';
import type { FileInfo } from '../../storage/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Database } from '../db/database.ts';
import type { Ports, StoreOptions } from '../options.ts';
import type { Replica } from '../replica/replica.ts';
import { listLevel, type ReplicaView, SNAPSHOT_LEVEL } from './replica-view.ts';
import { UploadAge } from './upload-age.ts';

export interface RetentionInit {
  readonly database: Database;
  readonly replica: Replica;
  readonly options: StoreOptions;
  readonly ports: Ports;
  readonly logger: Logger;
  readonly view: ReplicaView;
  /** Local files up to here are needed by no replica of the database. */
  readonly commonLocalFloor: () => bigint;
  /** Looks at a file that a listing does not show; true if it was lost. */
  readonly reportLoss: (gap: LevelGap, signal: AbortSignal | undefined) => Promise<boolean>;
}

/** What the last pass over level 0 left. */
interface Level0State {
  /** Oldest remaining file. */
  readonly oldest: FileInfo | undefined;
  readonly wasRecent: boolean;
  readonly position: bigint;
  readonly compacted: bigint;
}

/**
 * Deletes what has expired in one replica, and local files that no replica needs any more. Every decision comes from listings of this
 * pass; nothing is asked while it is known that nothing can have expired.
 *
 * Spec: replication 18, W-22, W-24.
 */
export class RetentionRunner {
  readonly #init: RetentionInit;
  #level0: Level0State | undefined;
  /** Everything below is gone from level 0. */
  #deletedBelow = 0n;
  /** Every local file up to here is in the replica in another form, and old enough. */
  localFloor = 0n;
  /** End of the last expired snapshot: re-applied until it has worked. */
  #floor = 0n;
  #floorPending = false;
  /** The one snapshot that is left, if there is only one. */
  #onlySnapshot: FileInfo | undefined;
  /** A mass deletion that waits for the next round to confirm it. */
  #unconfirmed = false;
  readonly #uploads = new UploadAge();

  constructor(init: RetentionInit) {
    this.#init = init;
  }

  /** The replica is not what it was. */
  forget(): void {
    this.#level0 = undefined;
    this.#onlySnapshot = undefined;
    this.#deletedBelow = this.#init.replica.position ?? 0n;
  }

  /** The end of level 1, if level 0 must still hold that TXID; undefined if it need not. */
  anchor(compacted: bigint): bigint | undefined {
    const { level0From, position = 0n } = this.#init.replica;
    const known = compacted >= level0From && compacted <= position;
    return known && compacted > this.#deletedBelow ? compacted : undefined;
  }

  /** A compaction wrote a file. One that came too late for the last expired snapshot goes in the next round, not with the next snapshot. */
  noteWritten({ level, maxTxid }: FileInfo): void {
    if (level !== SNAPSHOT_LEVEL && maxTxid < this.#floor) this.#floorPending = true;
  }

  /** True if a pass over level 0 may find something to delete. */
  isLevel0Due(): boolean {
    const { options, ports, replica, view } = this.#init;
    if (options.l0RetentionMs <= 0) return false;
    this.#settled();
    const state = this.#level0;
    if (state === undefined) return true;
    const compacted = view.newest(1)?.maxTxid ?? 0n;
    // Level 1 has come into being since: what is there to be counted is known now.
    if (state.compacted === 0n && compacted > 0n) return true;
    const changed = (replica.position ?? 0n) !== state.position || compacted !== state.compacted;
    if (!changed && !state.wasRecent) return false;
    return (
      state.oldest === undefined ||
      state.oldest.createdAt <= ports.clock.now() - options.l0RetentionMs
    );
  }

  /** Spec: replication 18.1. @throws LitestreamError of the store */
  async enforceLevel0(signal?: AbortSignal): Promise<void> {
    const { options, ports, replica, view } = this.#init;
    const { client } = replica;
    const position = replica.position ?? 0n;
    const known = view.newest(1);
    const listed1 = await listLevel(client, 1, signal);
    if (known !== undefined && !listed1.some((file) => file.maxTxid === known.maxTxid)) {
      const gap = { level: 1, from: known.minTxid, to: known.maxTxid };
      await this.#init.reportLoss(gap, signal);
      return;
    }
    const listed = options.retentionEnabled
      ? await listLevel(client, 0, signal)
      : await this.#localFiles();
    // What lies behind our position may be another writer's: it has to be found there by the next upload.
    const level0 = listed.filter(({ maxTxid }) => maxTxid <= position);
    const level1 = await this.#withFirst(listed1, level0[0], signal);
    const settled = this.#settled();
    const cutoffMs = ports.clock.now() - options.l0RetentionMs;
    const plan = planLevel0Retention({ level0, level1, cutoffMs, floor: this.#floor, settled });
    this.#gauges(
      listed1.length === 0 ? [0, 0, 0] : [plan.deletions.length, plan.notCompacted, plan.tooRecent],
    );
    const { deletions } = plan;
    if (options.retentionEnabled && deletions.length > 0)
      await client.delete(deletions, { signal });
    const rest = level0.slice(deletions.length);
    const last = deletions.at(-1);
    if (last !== undefined) this.#deletedBelow = last.maxTxid;
    await this.#noteLocalFloor(rest[0], level1);
    this.#level0 = {
      oldest: rest[0],
      wasRecent: settled < position || rest.slice(0, 1).some((file) => file.createdAt > cutoffMs),
      position,
      compacted: known?.maxTxid ?? 0n,
    };
    const removed = await this.#dropLocal();
    const count = options.retentionEnabled ? deletions.length : removed;
    const attributes = { deleted_count: count, max_l1_txid: listed1.at(-1)?.maxTxid };
    if (count > 0) this.#init.logger.log('info', 'l0 retention enforced', attributes);
  }

  /** Level 1 together with the snapshot that holds the first transaction, where level 1 begins behind it. */
  async #withFirst(
    level1: readonly FileInfo[],
    oldest: FileInfo | undefined,
    signal: AbortSignal | undefined,
  ): Promise<readonly FileInfo[]> {
    const { database, replica } = this.#init;
    if (level1[0]?.minTxid !== 2n) return level1;
    const local = (await database.files.list())[0];
    if (oldest?.minTxid !== 1n && local !== 1n) return level1;
    const snapshots = await listLevel(replica.client, SNAPSHOT_LEVEL, signal);
    const first = snapshots.find(({ maxTxid }) => maxTxid === 1n);
    return first === undefined ? level1 : [first, ...level1];
  }

  /**
   * Where the replica stood one retention time ago. What was uploaded since stays, however old the transactions are: another writer
   * that has not looked here for a while must find the numbers taken.
   */
  #settled(): bigint {
    const { options, ports, replica } = this.#init;
    const { knownHistory, position = 0n } = replica;
    const at = { now: ports.clock.now(), ageMs: options.l0RetentionMs };
    return this.#uploads.settled(position, knownHistory?.lastTxid ?? 0n, at);
  }

  /** False if it is known that no snapshot can have expired. */
  areSnapshotsDue(): boolean {
    const { options, view } = this.#init;
    if (!options.retentionEnabled) return false;
    return (
      this.#floorPending ||
      !this.#onlySnapshot ||
      view.newest(SNAPSHOT_LEVEL) !== this.#onlySnapshot
    );
  }

  /** Spec: replication 18.2. @throws LitestreamError of the store */
  async enforceSnapshots(signal?: AbortSignal): Promise<void> {
    const { logger, options, ports, replica, view } = this.#init;
    if (!options.retentionEnabled) return;
    const { client } = replica;
    const known = view.newest(SNAPSHOT_LEVEL);
    const snapshots = await listLevel(client, SNAPSHOT_LEVEL, signal);
    if (known !== undefined && !snapshots.some((file) => file.maxTxid === known.maxTxid)) {
      const gap = { level: SNAPSHOT_LEVEL, from: 1n, to: known.maxTxid };
      await this.#init.reportLoss(gap, signal);
      return;
    }
    const retentionMs = replica.options.retentionMs ?? options.snapshotRetentionMs;
    const cutoffMs = ports.clock.now() - retentionMs;
    const { deletions, floor } = planSnapshotRetention(snapshots, cutoffMs);
    if (isMassDeletion(deletions.length, snapshots.length) && !this.#unconfirmed) {
      this.#unconfirmed = true;
      logger.log('warn', 'nearly all snapshots have expired at once, waiting for the next round', {
        expired: deletions.length,
        snapshots: snapshots.length,
        hint: 'check the clock of this machine',
      });
      return;
    }
    this.#unconfirmed = false;
    if (deletions.length > 0) {
      this.#floor = floor > this.#floor ? floor : this.#floor;
      this.#floorPending = true;
      await client.delete(deletions, { signal });
    }
    if (this.#floorPending) await this.#applyFloor(signal);
    this.#floorPending = false;
    this.#onlySnapshot = snapshots.length - deletions.length <= 1 ? known : undefined;
  }

  async #applyFloor(signal: AbortSignal | undefined): Promise<void> {
    const { options, replica } = this.#init;
    for (const { level } of options.levels) {
      const files = await listLevel(replica.client, level, signal);
      const expired = planLevelRetention(files, this.#floor);
      if (expired.length > 0) await replica.client.delete(expired, { signal });
    }
  }

  /** With remote deletion disabled the local files are all there is to clean up. */
  async #localFiles(): Promise<FileInfo[]> {
    const { database, ports } = this.#init;
    const files: FileInfo[] = [];
    for (const txid of await database.files.list()) {
      const stat = await ports.fileSystem.stat('retention:stat', database.files.pathOf(txid));
      if (stat === undefined) continue;
      const { mtimeMs, size } = stat;
      const { minTxid } = database.files.rangeOf(txid);
      files.push({ level: 0, minTxid, maxTxid: txid, size, createdAt: mtimeMs });
    }
    return files;
  }

  /** Advances over local files that this replica has in level 1, and no longer in level 0. */
  async #noteLocalFloor(oldest: FileInfo | undefined, level1: readonly FileInfo[]): Promise<void> {
    const { database } = this.#init;
    const compacted = coverage(level1);
    for (const txid of await database.files.list()) {
      if (oldest === undefined || txid >= oldest.minTxid) return;
      const safe = txid < this.#floor || covers(compacted, database.files.rangeOf(txid));
      if (!safe) return;
      if (txid > this.localFloor) this.localFloor = txid;
    }
  }

  /** Removes local files that every replica can do without; returns how many. */
  async #dropLocal(): Promise<number> {
    const { database } = this.#init;
    const local = (await database.files.list()).slice(0, -1);
    const floor = this.#init.commonLocalFloor();
    const expired = local.filter((txid) => txid <= floor && txid < database.txid);
    await database.files.remove(expired);
    return expired.length;
  }

  #gauges([eligible = 0, notCompacted = 0, tooRecent = 0]: readonly number[]): void {
    const { database, ports } = this.#init;
    const db = basename(database.options.path);
    const name = 'litestream_l0_retention_files_total';
    ports.metrics.set(name, { db, status: 'eligible' }, eligible);
    ports.metrics.set(name, { db, status: 'not_compacted' }, notCompacted);
    ports.metrics.set(name, { db, status: 'too_recent' }, tooRecent);
  }
}
