import {
  chainFrom,
  coverage,
  covers,
  isDamage,
  restorableTo,
  type LevelGap,
} from '../../compaction/index.ts';
import { toTxid, type Txid } from '../../formats/ltx/index.ts';
import { errorMessage } from '../../lib/errors.ts';
import type { FileInfo, FileKey, ReplicaClient } from '../../storage/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Database } from '../db/database.ts';
import type { Replica } from '../replica/replica.ts';
import { exists, listLevel, SNAPSHOT_LEVEL, type ReplicaView } from './replica-view.ts';
import type { SnapshotWriter } from './snapshot-writer.ts';

export interface RepairInit {
  readonly database: Database;
  readonly replica: Replica;
  readonly logger: Logger;
  readonly view: ReplicaView;
  readonly snapshots: SnapshotWriter;
  /** Everything was listed: what was known before may be wrong. */
  readonly onListed: () => void;
}

/**
 * Makes a replica restorable again that has lost files, or whose files are damaged. Runs under the lock of the replica's upkeep.
 *
 * Spec: replication W-8, W-9, W-27, failures CMP-19, CMP-21.
 */
export class Repair {
  readonly #init: RepairInit;

  constructor(init: RepairInit) {
    this.#init = init;
  }

  /** A file of which no copy is usable is a hole: a snapshot bridges it, and the next pass goes on behind it. */
  async noteDamage(error: unknown, signal: AbortSignal | undefined): Promise<void> {
    if (!isDamage(error)) return;
    const { level, minTxid, maxTxid } = error.details;
    if (typeof level !== 'number' || typeof minTxid !== 'bigint' || typeof maxTxid !== 'bigint') {
      return;
    }
    const key = { level, minTxid: toTxid(minTxid), maxTxid: toTxid(maxTxid) };
    this.#init.view.markUnusable(key);
    this.#init.logger.log('error', 'ltx file is damaged and has no good copy', {
      level,
      min_txid: minTxid,
      max_txid: maxTxid,
      error: errorMessage(error),
    });
    await this.#repair(signal);
  }

  /**
   * Looks at files that a listing does not show. True if they were lost and the replica has been repaired; false if the listing is
   * merely late.
   */
  async checkLoss(gap: LevelGap, signal: AbortSignal | undefined): Promise<boolean> {
    const key: FileKey = {
      level: gap.level,
      minTxid: toTxid(gap.from),
      maxTxid: gap.level === 0 ? toTxid(gap.from) : toTxid(gap.to),
    };
    if (await exists(this.#init.replica.client, key, signal)) return false;
    this.#init.logger.log('error', 'replica has lost files', {
      level: gap.level,
      min_txid: gap.from,
      max_txid: gap.to,
    });
    await this.#repair(signal);
    return true;
  }

  /** Makes the replica restorable up to its position: uploads again what is still local, else writes a snapshot. */
  async #repair(signal: AbortSignal | undefined): Promise<void> {
    const { client } = this.#init.replica;
    // What is missing may be missing because somebody else is at work here.
    await this.#init.replica.lookForWriter(signal);
    const position = this.#init.replica.position ?? 0n;
    const hadSnapshot = this.#init.view.newest(SNAPSHOT_LEVEL) !== undefined;
    const found = await listEverything(client, signal);
    const files = found.filter((file) => !this.#init.view.isUnusable(file));
    this.#init.view.replace(files);
    this.#init.onListed();
    const again = await this.#init.replica.uploadAgain(await this.#missing(files), signal);
    if (again.length > 0) {
      this.#init.logger.log('warn', 'uploaded lost files again', { files: again.length });
    }
    const reached = restorableTo([...files, ...again], SNAPSHOT_LEVEL);
    const lostSnapshot = hadSnapshot && this.#init.view.newest(SNAPSHOT_LEVEL) === undefined;
    if (reached >= position) this.#init.view.restorable(reached);
    if (reached >= position && !lostSnapshot) return;
    this.#init.logger.log('warn', 'transactions are missing in the replica, writing a snapshot', {
      min_txid: reached + 1n,
      max_txid: position,
    });
    await this.#init.snapshots.write({ bridging: true }, signal);
  }

  /** Local files up to the position that no level has, as far as something leads to them, or is going to. */
  async #missing(listed: readonly FileInfo[]): Promise<Txid[]> {
    const { database, replica, view } = this.#init;
    const position = replica.position ?? 0n;
    // The first file of level 0 may have become a snapshot.
    const held = coverage(
      listed.filter((file) => file.level !== SNAPSHOT_LEVEL || file.maxTxid === 1n),
    );
    const lost = (await database.files.list()).filter((txid) => {
      const key = { level: 0, minTxid: txid, maxTxid: txid };
      return txid <= position && !covers(held, key) && !view.isUnusable(key);
    });
    const reached = new Set(useful(lost, listed));
    // A snapshot will lead to the last one, and its number has to be in level 0: another writer must find it taken.
    return lost.filter((txid) => txid === position || reached.has(txid));
  }
}

/**
 * Which of these TXIDs a restore gets to, if level 0 held them: from a snapshot or from the beginning, without a gap. To one behind a
 * gap nothing leads, and a restore to its time would end there.
 */
function useful(txids: readonly Txid[], files: readonly FileInfo[]): Txid[] {
  const isSnapshot = ({ level }: FileInfo): boolean => level === SNAPSHOT_LEVEL;
  const steps = files.filter((file) => !isSnapshot(file));
  for (const txid of txids) {
    steps.push({ level: 0, minTxid: txid, maxTxid: txid, size: 0, createdAt: 0 });
  }
  const starts = [0n, ...files.filter(isSnapshot).map(({ maxTxid }) => maxTxid)];
  const ranges = starts.map((from) => ({ from, to: chainFrom(from, steps).reached }));
  return txids.filter((txid) => ranges.some(({ from, to }) => from < txid && txid <= to));
}

/** Lower levels first: the output of a compaction exists before its inputs are deleted. */
async function listEverything(
  client: ReplicaClient,
  signal: AbortSignal | undefined,
): Promise<FileInfo[]> {
  const files: FileInfo[] = [];
  for (let level = 0; level <= SNAPSHOT_LEVEL; level++) {
    files.push(...(await listLevel(client, level, signal)));
  }
  return files;
}
