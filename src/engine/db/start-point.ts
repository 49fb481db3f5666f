import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import { type Clock, sleep } from '../../lib/clock.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Replica, ReplicaHistory } from '../replica/replica.ts';
import type { LocalFiles } from './local-files.ts';

/** How long the first capture's file waits for replicas to tell their history. Capture itself has begun already. */
const HISTORY_WAIT_MS = 1000;

/** Where the numbering goes on. */
export interface StartPoint {
  /** Newest local file, to prove continuity with; 0 = none. */
  readonly anchor: Txid;
  /** The next transaction gets the number after this one. */
  readonly lastTxid: Txid;
  /** The replica whose history was taken over, if local state was behind. */
  readonly adopted: Replica | undefined;
  /** Replicas whose history was known when this was decided. */
  readonly heard: ReadonlySet<Replica>;
}

export interface StartPointOptions {
  readonly files: LocalFiles;
  readonly replicas: readonly Replica[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/**
 * Compares the local files with the replicas. A replica that is ahead (metadata lost, database restored) wins: local files are
 * discarded, its newest level-0 file becomes the anchor if it has one, and numbering continues behind its history. A replica
 * that does not answer in time decides nothing now; see `Database.#reconcile`.
 *
 * Spec: replication 15.1, W-10, W-18.
 */
export async function chooseStartPoint(options: StartPointOptions): Promise<StartPoint> {
  const { files, logger, replicas } = options;
  const known = await files.list();
  const local = known.at(-1) ?? NO_TXID;
  const histories = await hear(options);
  const heard = new Set(histories.keys());
  let ahead: { replica: Replica; history: ReplicaHistory } | undefined;
  for (const replica of replicas) {
    const history = histories.get(replica);
    if (history === undefined || history.lastTxid <= (ahead?.history.lastTxid ?? 0n)) continue;
    const behind = history.lastTxid > local || !(await replica.continues(history, known));
    if (behind) ahead = { replica, history };
  }
  if (ahead === undefined) return { anchor: local, lastTxid: local, adopted: undefined, heard };
  const adopted = ahead.replica;
  const { lastTxid, level0 } = ahead.history;
  logger.log('info', 'detected database behind replica', {
    db_txid: local,
    replica_txid: lastTxid,
  });
  await files.removeAll();
  if (level0.at(-1) !== lastTxid) return { anchor: NO_TXID, lastTxid, adopted, heard };
  await fetchAnchor(ahead.replica, lastTxid, options);
  logger.log('info', 'fetched latest L0 file from replica', {
    min_txid: lastTxid,
    max_txid: lastTxid,
  });
  return { anchor: lastTxid, lastTxid, adopted, heard };
}

/** Histories of the replicas that answer in time. */
async function hear(options: StartPointOptions): Promise<Map<Replica, ReplicaHistory>> {
  const { replicas, clock, signal } = options;
  const histories = new Map<Replica, ReplicaHistory>();
  const wait = new AbortController();
  const all = Promise.all(
    replicas.map(async (replica) => {
      try {
        histories.set(replica, await replica.history());
      } catch {
        // Its own loop will say what is wrong and try again.
      }
    }),
  );
  const bound = sleep(clock, HISTORY_WAIT_MS, AbortSignal.any([signal, wait.signal])).catch(() => {
    // Everything was heard, or the program stops.
  });
  await Promise.race([all, bound]);
  wait.abort();
  return new Map(histories);
}

/** Downloads a level-0 file into the local folder, durably. */
async function fetchAnchor(
  replica: Replica,
  txid: Txid,
  options: StartPointOptions,
): Promise<void> {
  const { files, signal } = options;
  await files.makeFolder();
  const file = await files.create(txid);
  try {
    let position = 0;
    const key = { level: 0, minTxid: txid, maxTxid: txid };
    for await (const piece of replica.client.read(key, { signal })) {
      await file.write('l0:fetch', piece, position);
      position += piece.length;
    }
    await files.publish(txid, file);
  } catch (error) {
    await files.discard(txid, file);
    throw error;
  }
}
