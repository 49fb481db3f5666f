import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Ports } from '../options.ts';
import { findHoles, type Replica, type ReplicaHistory } from '../replica/replica.ts';
import type { CaptureLoop } from './capture-loop.ts';
import type { LocalFiles } from './local-files.ts';
import type { Opened } from './opener.ts';
import type { PublishTimes } from './publish-times.ts';

export interface ReconciliationInit {
  readonly files: LocalFiles;
  readonly times: PublishTimes;
  readonly ports: Ports;
  readonly logger: Logger;
  /** Called before local history is given up for a replica's. */
  readonly onGivenUp: () => void;
}

/** Decides, once the history of a replica is known, whether the local one continues it, and from where it is uploaded to. */
export class Reconciliation {
  readonly #init: ReconciliationInit;
  #heard: ReadonlySet<Replica> = new Set();
  #startedBlank = false;
  /** A replica whose history was taken over although it could not be proven to be this database's. */
  #unproven: Replica | undefined;

  constructor(init: ReconciliationInit) {
    this.#init = init;
  }

  /** What a new session was begun with. */
  begin({ first, start }: Opened): void {
    const { adopted, heard } = start;
    // The others were compared with the local files from before.
    this.#heard = adopted === undefined ? heard : new Set([adopted]);
    this.#startedBlank = start.lastTxid === 0n;
    this.#unproven = first === undefined ? undefined : adopted;
  }

  /** Runs under the database's lock. */
  async run(
    capture: CaptureLoop,
    replica: Replica,
    {
      history,
      signal,
    }: { readonly history: ReplicaHistory; readonly signal?: AbortSignal | undefined },
  ): Promise<void> {
    const { files } = this.#init;
    // Local files of a run that began without knowing this replica's history do not continue it.
    const unknown = !this.#heard.has(replica) && this.#startedBlank && history.lastTxid > 0n;
    const heard = this.#heard.has(replica) && !replica.tookOver;
    const known = heard ? true : await replica.continues(history, await files.list(), signal);
    if (unknown || !known || history.lastTxid > capture.lastTxid) {
      await this.#adopt(capture, replica, history);
    }
    this.#heard = new Set([...this.#heard, replica]);
    const local = await files.list();
    const after = history.lastTxid < capture.lastTxid ? history.lastTxid : capture.lastTxid;
    await this.#noteBacklog(after, local);
    replica.begin(after, findHoles(history, local), replica === this.#unproven);
    replica.notify(capture.lastTxid);
  }

  async #adopt(capture: CaptureLoop, replica: Replica, history: ReplicaHistory): Promise<void> {
    this.#init.logger.log('warn', 'detected database behind replica', {
      db_txid: capture.lastTxid,
      replica_txid: history.lastTxid,
    });
    this.#init.onGivenUp();
    // Never below a number that another replica may have already.
    const last = history.lastTxid > capture.lastTxid ? history.lastTxid : capture.lastTxid;
    await capture.renumber(last, {
      reason: 'the replica holds a longer history than the local state',
      level: 'warn',
    });
    this.#startedBlank = false;
    this.#unproven = replica;
  }

  /** Notes how old the first file of an earlier run is that a replica lacks. */
  async #noteBacklog(after: Txid, local: readonly Txid[]): Promise<void> {
    const first = local.find((txid) => txid > after);
    if (first === undefined) return;
    const { files, ports, times } = this.#init;
    const stat = await ports.fileSystem.stat('l0:stat-backlog', files.pathOf(first));
    if (stat === undefined) return;
    const { clock } = ports;
    times.noteOld(first, clock.monotonic() - Math.max(0, clock.now() - stat.mtimeMs));
  }
}

/** The TXID that all replicas have, as far as is known. */
export function commonPosition(replicas: readonly Replica[]): Txid {
  let common: Txid | undefined;
  for (const { position = NO_TXID } of replicas) {
    if (common === undefined || position < common) common = position;
  }
  return common ?? NO_TXID;
}
