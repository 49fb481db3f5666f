import { closeSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Database, type Ports, type StoreOptions } from '../../../../src/engine/index.ts';
import { QueueBound } from '../../../../src/engine/store/queue-bound.ts';
import type { ReplicaMaintenance } from '../../../../src/engine/store/maintenance.ts';
import { Upkeep } from '../../../../src/engine/store/upkeep.ts';
import {
  decodeLtxFile,
  formatFileName,
  matchFileName,
  NO_TXID,
  type Txid,
} from '../../../../src/formats/ltx/index.ts';
import { LitestreamError } from '../../../../src/lib/errors.ts';
import { type LogAttributes, type LogLevel, noopMetrics } from '../../../../src/telemetry/index.ts';
import { FaultyClient, FaultyFileSystem, MemoryClient } from '../../../../src/testing/index.ts';
import { Application } from '../application.ts';
import type { SimulatedClock } from '../clock.ts';
import { InlineCheckpointWorker, Journal } from '../engine.ts';
import { History, imageKey } from '../history.ts';
import { Interference } from '../interference.ts';
import { Chain } from '../ledger.ts';
import type { Random } from '../random.ts';
import { namesIn } from '../sync-file-system.ts';
import type { Tally } from '../tally.ts';
import { check } from '../violation.ts';
import { DaemonClock } from './daemon-clock.ts';
import { imageOf, type Remote } from './remote.ts';
import { WatchedFiles } from './watched-files.ts';

/** A request that nobody answers is given up after this long. */
const PATIENCE_MS = 60_000;

class CountingJournal extends Journal {
  errors = 0;

  override log(level: LogLevel, message: string, attributes: LogAttributes = {}): void {
    if (level === 'error') this.errors++;
    if (level !== 'debug') super.log(level, message, attributes);
  }
}

export interface WriterOptions {
  readonly folder: string;
  readonly random: Random;
  readonly clock: SimulatedClock;
  readonly remotes: readonly Remote[];
  readonly store: StoreOptions;
  readonly tally: Tally;
}

/** A database with its application and one daemon after the other. */
export class Writer {
  readonly path: string;
  readonly metaPath: string;
  readonly level0: string;
  readonly history: History = new History();
  readonly application: Application;
  readonly files: WatchedFiles = new WatchedFiles();
  readonly fileSystem: FaultyFileSystem = new FaultyFileSystem(this.files);
  readonly journal: CountingJournal = new CountingJournal();
  readonly clients: readonly FaultyClient[];
  /** What each local TXID stands for. */
  readonly local: Chain;
  readonly autoRecover: boolean;
  /** Faults of the file system are armed. */
  faults = false;
  starts = 0;
  readonly #o: WriterOptions;
  /** Of its daemons, one after the other. */
  readonly #clock: DaemonClock;
  readonly #settings: { maxSyncWalBytes: number; minCheckpointPages: number };
  readonly #descriptors: number[] = [];
  #database: Database | undefined;
  #upkeep: Upkeep | undefined;

  constructor(options: WriterOptions) {
    const { folder, random, remotes, tally } = options;
    this.#o = options;
    this.#clock = new DaemonClock(options.clock);
    mkdirSync(folder);
    this.path = join(folder, 'db');
    this.metaPath = join(folder, '.db-litestream');
    this.level0 = join(this.metaPath, 'ltx', '0');
    this.local = new Chain('local', this.history);
    this.files.onPublished = (path) => this.#published(path);
    this.application = new Application({
      path: this.path,
      random,
      history: this.history,
      interference: new Interference(() => 1),
      tally,
      pageSize: random.pick([512, 512, 1024]),
      autoVacuum: random.pick([0, 1]),
      autoCheckpoint: random.pick([0, 4, 1000]),
      pageSizeChanges: false,
    });
    this.clients = remotes.map(
      ({ name, store }) => new FaultyClient(new MemoryClient({ store, path: name })),
    );
    this.autoRecover = random.chance(0.5);
    this.#settings = {
      maxSyncWalBytes: random.pick([0, 0, 20_000]),
      minCheckpointPages: random.between(5, 50),
    };
  }

  get running(): boolean {
    return this.#database !== undefined;
  }

  get database(): Database {
    check(this.#database !== undefined, 'the daemon runs');
    return this.#database;
  }

  get txid(): Txid {
    return this.#database?.txid ?? NO_TXID;
  }

  /** Upkeep of each destination. */
  get upkeep(): readonly ReplicaMaintenance[] {
    return this.#upkeep?.of(this.database) ?? [];
  }

  maintenance(index: number): ReplicaMaintenance {
    const one = this.upkeep[index];
    check(one !== undefined, 'the replica is configured');
    return one;
  }

  get ports(): Ports {
    return {
      clock: this.#clock,
      fileSystem: this.fileSystem,
      logger: this.journal,
      metrics: noopMetrics,
      random: this.#o.random.next,
      descriptorSink: (fd) => {
        this.#descriptors.push(fd);
      },
    };
  }

  /** A new process. */
  start(): void {
    const { remotes, store, tally } = this.#o;
    tally.add('start');
    this.fileSystem.reset();
    this.starts++;
    const { ports } = this;
    this.#database = new Database({
      options: {
        path: this.path,
        metaPath: this.metaPath,
        monitorIntervalMs: 0,
        monitorIntervalExplicit: false,
        checkpointIntervalMs: 60_000,
        busyTimeoutMs: 1000,
        truncatePages: 60,
        ...this.#settings,
        replicas: this.clients.map((client, index) => ({
          client,
          name: remotes[index]?.name,
          syncIntervalMs: 1000,
          syncIntervalExplicit: false,
          maxSyncLtxFiles: 0,
          autoRecover: this.autoRecover,
        })),
      },
      ports,
      worker: new InlineCheckpointWorker(this.#clock),
      logger: this.journal,
    });
    this.#upkeep = new Upkeep(store, ports, this.journal);
    this.#upkeep.add(this.#database);
    this.journal.log('info', `--- start ${this.starts}`);
  }

  /** Does something of the daemon's. Resolves to what went wrong, if anything did. */
  work(body: (signal: AbortSignal) => Promise<unknown>): Promise<unknown> {
    const { clock } = this.#o;
    const settled = async (): Promise<unknown> => {
      const bound = new AbortController();
      const text = 'injected fault: no answer';
      const timer = clock.timer(PATIENCE_MS, () =>
        bound.abort(new LitestreamError('ERR_STORAGE_TEMPORARY', text, { retryable: true })),
      );
      try {
        await body(bound.signal);
        return undefined;
      } catch (error) {
        return error;
      } finally {
        timer.cancel();
      }
    };
    return clock.drive(settled());
  }

  /** Makes a long queue short. */
  async shortenQueue(signal: AbortSignal): Promise<void> {
    const { database, ports } = this;
    await new QueueBound({ database, ports, logger: this.journal, bytesMax: 1 }).enforce(signal);
  }

  /** Ends the daemon; as the death of its process would, if that is what happened. */
  async stop(dead: boolean): Promise<unknown> {
    const { tally } = this.#o;
    tally.add(dead ? 'crash' : 'stop');
    const database = this.database;
    const upkeep = this.#upkeep;
    if (dead) this.fileSystem.crash();
    const failure = await this.work(async () => {
      await upkeep?.remove(database);
      await upkeep?.stop();
      await database.stopLoops();
      await database.release();
      await upkeep?.close();
    });
    this.#database = undefined;
    this.#upkeep = undefined;
    this.fileSystem.reset();
    this.files.forget();
    this.faults = false;
    this.journal.log('info', `--- ${dead ? 'died' : 'stopped'}`);
    if (dead) this.#clock.forget();
    check(this.#clock.pending === 0, 'E9: no timer stays');
    check(this.files.descriptors === 0, 'E9: no file stays open');
    return failure;
  }

  /** What `litestream reset` does. */
  reset(): void {
    rmSync(join(this.metaPath, 'ltx'), { recursive: true, force: true });
  }

  temporaryFiles(): string[] {
    return [...namesIn(this.level0), ...namesIn(this.metaPath)].filter((name) =>
      name.endsWith('.tmp'),
    );
  }

  /** The end of the run. */
  end(): void {
    for (const fd of this.#descriptors) closeSync(fd);
    this.#descriptors.length = 0;
  }

  #published(path: string): void {
    if (dirname(path) !== this.level0) return;
    const range = matchFileName(path.slice(this.level0.length + 1));
    if (range === undefined || range.minTxid !== range.maxTxid) return;
    const { maxTxid } = range;
    const bytes = readFileSync(path);
    if (this.#isFetched(maxTxid, bytes)) return;
    this.local.add(maxTxid, bytes, this.local.entries.get(maxTxid - 1n));
  }

  /** True for what was there before us: the newest file of a history that is taken over. */
  #isFetched(txid: bigint, bytes: Buffer): boolean {
    const own = this.local.entries.get(txid);
    // Fetched once more, or our own.
    if (own !== undefined && Buffer.compare(own.bytes, bytes) === 0) return own.image.length === 0;
    const name = formatFileName(txid, txid);
    for (const { name: place, states, store } of this.#o.remotes) {
      const object = store.get(`${place}/ltx/0/${name}`);
      const key = states.get(txid);
      if (object === undefined || key === undefined || Buffer.compare(object.bytes, bytes) !== 0)
        continue;
      this.local.entries.set(txid, { bytes, key, ...this.#stateOf(bytes) });
      return true;
    }
    return false;
  }

  /**
   * What a file of somebody else holds of our database. Two databases may be equal, as long as both are small: then the daemon goes on
   * with single pages. Otherwise nothing can be built on it.
   */
  #stateOf(bytes: Buffer): { readonly image: Buffer; readonly index: number } {
    const nothing = { image: Buffer.alloc(0), index: 0 };
    let image: Buffer;
    try {
      const file = decodeLtxFile(bytes);
      if (file.pages.length !== file.header.commit) return nothing;
      image = imageOf(file);
    } catch {
      // It was damaged on purpose.
      return nothing;
    }
    const index = this.history.findImage(image, imageKey(image), 0);
    return index === undefined ? nothing : { image, index };
  }
}
