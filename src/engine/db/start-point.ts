import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import { type Clock, sleep, type TimerHandle } from '../../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Replica, ReplicaHistory } from '../replica/replica.ts';
import type { LocalFiles } from './local-files.ts';

/** How long the first capture's file waits for replicas to tell their history. Capture itself has begun already. */
const HISTORY_WAIT_MS = 1000;
/** A download without a byte for so long is given up, and begun again. */
const SILENCE_MS_MAX = 30_000;

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
 * that does not answer in time decides nothing now; see `Reconciliation`. If the newest file is gone meanwhile there is no anchor.
 *
 * Spec: replication 15.1, W-10, W-18.
 */
export async function chooseStartPoint(options: StartPointOptions): Promise<StartPoint> {
  const { files, logger, replicas } = options;
  const known = await files.list();
  const local = known.at(-1) ?? NO_TXID;
  const answers = await hear(known, options);
  const heard = new Set(answers.keys());
  let ahead: { replica: Replica; history: ReplicaHistory } | undefined;
  for (const replica of replicas) {
    const { history, continues } = answers.get(replica) ?? {};
    if (history === undefined || history.lastTxid <= (ahead?.history.lastTxid ?? 0n)) continue;
    if (history.lastTxid > local || continues !== true) ahead = { replica, history };
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
  try {
    await fetchAnchor(adopted, lastTxid, options);
  } catch (error) {
    if (!isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND')) throw error;
    sayUseless(logger, lastTxid, error);
    return { anchor: NO_TXID, lastTxid, adopted, heard };
  }
  logger.log('info', 'fetched latest L0 file from replica', {
    min_txid: lastTxid,
    max_txid: lastTxid,
  });
  return { anchor: lastTxid, lastTxid, adopted, heard };
}

/** Says that a history is gone on with without its newest file: everything is written again behind it. */
export function sayUseless(logger: Logger, txid: Txid, error: unknown): void {
  logger.log('error', 'newest file of the replica is of no use', {
    txid,
    error: errorMessage(error),
  });
}

/** What a replica says in time. */
interface Answer {
  readonly history: ReplicaHistory;
  /** Its history is that of the local files. */
  readonly continues: boolean;
}

/** What the replicas say that answer in time. A store that lists and does not read is one that does not answer. */
async function hear(
  known: readonly Txid[],
  { replicas, clock, signal }: StartPointOptions,
): Promise<Map<Replica, Answer>> {
  const answers = new Map<Replica, Answer>();
  const wait = new AbortController();
  const all = Promise.all(
    replicas.map(async (replica) => {
      try {
        const history = await replica.history();
        const continues = await replica.continues(history, known, wait.signal);
        answers.set(replica, { history, continues });
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
  return new Map(answers);
}

/** Downloads a level-0 file into the local folder, durably. */
async function fetchAnchor(
  replica: Replica,
  txid: Txid,
  options: StartPointOptions,
): Promise<void> {
  const { clock, files } = options;
  await files.makeFolder();
  const file = await files.create(txid);
  const silence = new AbortController();
  const signal = AbortSignal.any([options.signal, silence.signal]);
  const watch = (): TimerHandle =>
    clock.timer(SILENCE_MS_MAX, () => silence.abort(silent(replica)));
  let timer = watch();
  try {
    let position = 0;
    const key = { level: 0, minTxid: txid, maxTxid: txid };
    for await (const piece of replica.client.read(key, { signal })) {
      timer.cancel();
      timer = watch();
      await file.write('l0:fetch', piece, position);
      position += piece.length;
    }
    await files.publish(txid, file);
  } catch (error) {
    await files.discard(txid, file);
    throw error;
  } finally {
    timer.cancel();
  }
}

function silent({ client }: Replica): LitestreamError {
  const text = `replica ${client.location} sent nothing for ${SILENCE_MS_MAX / 1000} s`;
  return new LitestreamError('ERR_TIMEOUT', text, { retryable: true });
}
