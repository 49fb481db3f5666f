import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import {
  Database,
  type DatabaseOptions,
  type Ports,
  type StoreOptions,
} from '../../../src/engine/index.ts';
import { Upkeep } from '../../../src/engine/store/upkeep.ts';
import { NO_TXID, type Txid } from '../../../src/formats/ltx/index.ts';
import { CheckpointWorker, type CheckpointResult } from '../../../src/sqlite/index.ts';
import type { LogAttributes, Logger, LogLevel } from '../../../src/telemetry/index.ts';
import { noopMetrics } from '../../../src/telemetry/index.ts';
import { FaultyClient, FaultyFileSystem, MemoryClient } from '../../../src/testing/index.ts';
import type { SimulatedClock } from './clock.ts';
import type { Interference } from './interference.ts';
import type { Random } from './random.ts';
import type { SyncFileSystem } from './sync-file-system.ts';
import type { Tally } from './tally.ts';
import { check } from './violation.ts';

/** The long checkpoint on a connection of its own, without a thread: its interruptions are the simulation's. */
export class InlineCheckpointWorker extends CheckpointWorker {
  readonly #connections = new Map<string, DatabaseSync>();

  /** There is no thread to start. */
  override prepare(): void {}

  override async checkpoint(path: string): Promise<CheckpointResult> {
    let db = this.#connections.get(path);
    if (db === undefined) {
      db = new DatabaseSync(path, { timeout: 0 });
      db.exec('PRAGMA wal_autocheckpoint = 0');
      this.#connections.set(path, db);
    }
    await Promise.resolve();
    const row = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get();
    return {
      busy: row?.['busy'] !== 0,
      log: Number(row?.['log']),
      checkpointed: Number(row?.['checkpointed']),
    };
  }

  override async forget(path: string): Promise<void> {
    await Promise.resolve();
    this.#connections.get(path)?.close();
    this.#connections.delete(path);
  }
}

/** Keeps what the engine said lately. */
export class Journal implements Logger {
  readonly lines: string[] = [];
  fulls = 0;

  log(level: LogLevel, message: string, attributes: LogAttributes = {}): void {
    if (message === 'writing the whole database') this.fulls++;
    const text = Object.entries(attributes)
      .map(
        ([key, value]) =>
          `${key}=${typeof value === 'object' ? JSON.stringify(value, bigints) : value}`,
      )
      .join(' ');
    this.lines.push(`${level} ${message} ${text}`);
    if (this.lines.length > 400) this.lines.splice(0, 200);
  }

  enabled(): boolean {
    return true;
  }

  with(): Logger {
    return this;
  }
}

function bigints(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

/** A destination, and the faults on the way to it. */
export interface Destination {
  readonly name: string;
  readonly memory: MemoryClient;
  readonly client: FaultyClient;
  down: boolean;
}

export interface ViewOutcome {
  readonly txid: bigint;
  readonly image: Buffer;
  readonly failure: unknown;
}

export interface EngineOptions {
  readonly folder: string;
  readonly path: string;
  readonly random: Random;
  readonly clock: SimulatedClock;
  readonly files: SyncFileSystem;
  readonly interference: Interference;
  readonly tally: Tally;
  readonly replicas: number;
  readonly bridged: boolean;
  readonly settings: Omit<DatabaseOptions, 'path' | 'metaPath' | 'replicas'> & {
    readonly autoRecover: boolean;
  };
}

/** Nothing is done by itself; the upkeep of a replica only bridges what it cannot have. */
const STORE: StoreOptions = {
  databases: [],
  shutdownSyncTimeoutMs: 0,
  shutdownSyncIntervalMs: 0,
  levels: [],
  snapshotIntervalMs: 0,
  snapshotRetentionMs: 0,
  l0RetentionMs: 0,
  l0RetentionCheckIntervalMs: 0,
  retentionEnabled: false,
  verifyCompaction: false,
  monitors: false,
};

/** One daemon after the other on the same database, metadata folder and replicas. */
export class Engine {
  readonly metaPath: string;
  readonly level0: string;
  readonly fileSystem: FaultyFileSystem;
  readonly destinations: readonly Destination[];
  readonly journal: Journal = new Journal();
  readonly #o: EngineOptions;
  readonly #descriptors: number[] = [];
  #database: Database | undefined;
  #upkeep: Upkeep | undefined;
  starts = 0;

  constructor(options: EngineOptions) {
    this.#o = options;
    this.metaPath = join(options.folder, '.db-litestream');
    this.level0 = join(this.metaPath, 'ltx', '0');
    this.fileSystem = new FaultyFileSystem(options.files);
    this.destinations = Array.from({ length: options.replicas }, (_, index) => {
      const memory = new MemoryClient({ path: `r${index}` });
      const name = `r${index}`;
      return { name, memory, client: new FaultyClient(memory), down: false };
    });
  }

  get running(): boolean {
    return this.#database !== undefined;
  }

  get database(): Database {
    check(this.#database !== undefined, 'the engine runs');
    return this.#database;
  }

  get txid(): Txid {
    return this.#database?.txid ?? NO_TXID;
  }

  /** A new process. */
  start(): void {
    const { clock, interference, path, random, settings } = this.#o;
    interference.reset();
    this.#o.tally.add('start');
    this.fileSystem.reset();
    this.starts++;
    const ports: Ports = {
      clock,
      fileSystem: this.fileSystem,
      logger: this.journal,
      metrics: noopMetrics,
      random: random.next,
      descriptorSink: (fd) => {
        this.#descriptors.push(fd);
      },
    };
    const replicas = this.destinations.map(({ name, client }) => ({
      client,
      name,
      syncIntervalMs: 1000,
      syncIntervalExplicit: false,
      maxSyncLtxFiles: 0,
      autoRecover: settings.autoRecover,
    }));
    this.#database = new Database({
      options: { ...settings, path, metaPath: this.metaPath, replicas },
      ports,
      worker: new InlineCheckpointWorker(clock),
      logger: this.journal,
    });
    if (this.#o.bridged) {
      this.#upkeep = new Upkeep(STORE, ports, this.journal);
      this.#upkeep.add(this.#database);
    }
    this.journal.log('info', `--- start ${this.starts}`);
  }

  /** Captures everything. Resolves to what went wrong, if anything did. */
  sync(): Promise<unknown> {
    this.#o.tally.add('sync');
    return this.#run(() => this.database.sync());
  }

  /** Uploads everything captured to one destination. */
  upload(index: number, txid: Txid): Promise<unknown> {
    const replica = this.database.replicas[index];
    check(replica !== undefined, 'the replica is configured');
    this.#o.tally.add('upload');
    return this.#run(() => this.database.syncReplica(replica, txid));
  }

  /** Reads a whole snapshot view. Undefined if there is nothing. */
  async readView(): Promise<ViewOutcome | undefined> {
    this.#o.tally.add('snapshot view');
    let outcome: ViewOutcome | undefined;
    const failure = await this.#run(async () => {
      const view = await this.database.view();
      if (view === undefined) return;
      try {
        const { transaction, pageSize, txid } = view;
        const image = Buffer.alloc(transaction.commit * pageSize);
        for (let pgno = transaction.next(0); pgno !== 0; pgno = transaction.next(pgno)) {
          transaction.read(pgno, image.subarray((pgno - 1) * pageSize, pgno * pageSize));
          this.#o.clock.monotonic();
        }
        outcome = { txid, image, failure: undefined };
      } finally {
        view.release();
      }
    });
    return failure === undefined ? outcome : { txid: 0n, image: Buffer.alloc(0), failure };
  }

  position(index: number): Txid | undefined {
    return this.#database?.replicas[index]?.position;
  }

  /** Ends the daemon: what a clean stop does, and what the death of the process does, for the database's locks. */
  async stop(): Promise<unknown> {
    const database = this.database;
    const { interference } = this.#o;
    const dead = interference.dead || this.fileSystem.crashed;
    this.#o.tally.add(dead ? 'crash' : 'stop');
    if (dead) this.fileSystem.crash();
    interference.reset();
    const upkeep = this.#upkeep;
    this.#database = undefined;
    this.#upkeep = undefined;
    if (upkeep !== undefined) {
      await this.#o.clock.drive(upkeep.remove(database));
      await this.#o.clock.drive(upkeep.close());
    }
    const failure = await this.#o.clock.drive(
      database.release().then(
        () => undefined,
        (error: unknown) => error,
      ),
    );
    await this.#o.clock.drive(database.stopLoops());
    this.fileSystem.reset();
    this.journal.log('info', `--- ${dead ? 'died' : 'stopped'}`);
    return failure;
  }

  /** Closes the descriptors that had to outlive every connection. */
  end(): void {
    for (const fd of this.#descriptors) closeSync(fd);
    this.#descriptors.length = 0;
  }

  #run(body: () => Promise<unknown>): Promise<unknown> {
    const { clock, interference } = this.#o;
    const settled = async (): Promise<unknown> => {
      try {
        await body();
        return undefined;
      } catch (error) {
        return error;
      }
    };
    return interference.engine(() => clock.drive(settled()));
  }
}
