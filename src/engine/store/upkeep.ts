import { basename } from 'node:path';
import { EncodePool } from '../../codec/index.ts';
import { LitestreamError } from '../../lib/errors.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Database } from '../db/database.ts';
import type { Ports, StoreOptions } from '../options.ts';
import { ReplicaMaintenance } from './maintenance.ts';
import { runMonitors } from './monitors.ts';
import { QueueBound, runQueueBounds } from './queue-bound.ts';
import { Slots } from './slots.ts';
import { runVerification } from './verification.ts';

/** Compactions and snapshots at the same time, over all databases. */
const WORK_PARALLEL = 4;

/** Compaction, snapshots and retention of all databases of a store. */
export class Upkeep {
  readonly #options: StoreOptions;
  readonly #ports: Ports;
  readonly #logger: Logger;
  /** Threads that compress large files. */
  readonly pool: EncodePool;
  readonly #replicas = new Map<Database, readonly ReplicaMaintenance[]>();
  readonly #queues = new Map<Database, QueueBound>();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: StoreOptions, ports: Ports, logger: Logger) {
    this.#options = options;
    this.#ports = ports;
    this.#logger = logger;
    this.pool = new EncodePool(ports.clock);
  }

  /** Takes a database in charge. */
  add(database: Database): void {
    const { replicas } = database;
    const siblings: ReplicaMaintenance[] = replicas.map(
      (replica) =>
        new ReplicaMaintenance({
          database,
          replica,
          options: this.#options,
          ports: this.#ports,
          pool: this.pool,
          logger: this.#logger,
          commonLocalFloor: () => commonFloor(siblings),
        }),
    );
    this.#replicas.set(database, siblings);
    const logger = this.#logger.with({ db: basename(database.options.path) });
    this.#queues.set(database, new QueueBound({ database, ports: this.#ports, logger }));
  }

  /** Lets go of a database: what is being done for it is aborted and waited for. */
  async remove(database: Database): Promise<void> {
    const siblings = this.of(database);
    this.#replicas.delete(database);
    await Promise.all(siblings.map((replica) => replica.close()));
  }

  /** The replicas of one database. */
  of(database: Database): readonly ReplicaMaintenance[] {
    return this.#replicas.get(database) ?? [];
  }

  /** Starts the monitors. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends the monitors; what they are doing is aborted. */
  async stop(): Promise<void> {
    this.#stop.abort(new LitestreamError('ERR_ABORTED', 'context canceled'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock } = this.#ports;
    const { signal } = this.#stop;
    const monitors = runMonitors({
      options: this.#options,
      clock,
      logger: this.#logger,
      replicas: () => [...this.#replicas.values()].flat(),
      slots: new Slots(WORK_PARALLEL),
      signal,
    });
    const queues = runQueueBounds(() => [...this.#queues.values()], clock, signal);
    const verification = runVerification({
      options: this.#options,
      ports: this.#ports,
      logger: this.#logger,
      replicas: () => [...this.#replicas.values()].flat(),
      signal,
    });
    await Promise.all([monitors, queues, verification]);
  }

  /** Ends the threads of snapshots. */
  close(): Promise<void> {
    return this.pool.close();
  }
}

function commonFloor(replicas: readonly ReplicaMaintenance[]): bigint {
  let floor: bigint | undefined;
  for (const { retention } of replicas) {
    if (floor === undefined || retention.localFloor < floor) floor = retention.localFloor;
  }
  return floor ?? 0n;
}
