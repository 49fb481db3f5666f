import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { toTxid } from '../../../src/formats/ltx/index.ts';
import { restoreDatabase } from '../../../src/restore/index.ts';
import { noopLogger } from '../../../src/telemetry/index.ts';
import { Application } from './application.ts';
import { SimulatedClock } from './clock.ts';
import { Engine } from './engine.ts';
import { History } from './history.ts';
import { Interference } from './interference.ts';
import { judgeSync, judgeUpload } from './judgement.ts';
import { Ledger } from './ledger.ts';
import { Random } from './random.ts';
import { SyncFileSystem } from './sync-file-system.ts';
import { Tally } from './tally.ts';
import { check } from './violation.ts';

export interface SimulationOptions {
  readonly seed: number;
  /** A folder for the run, in memory if possible. */
  readonly folder: string;
  /** Default: chosen by the seed. */
  readonly replicas?: number | undefined;
  /** Local files may get lost while a replica cannot be reached, or when replicas stand at different places. Default false. */
  readonly blindStarts?: boolean | undefined;
  /** The page size may change while the daemon is down. Default false. */
  readonly pageSizeChanges?: boolean | undefined;
  /** A snapshot is written where files are missing or cannot follow, as a store has it done. Default false. */
  readonly bridged?: boolean | undefined;
}

/** Rounds after the last fault in which everything must be replicated. */
const ROUNDS_MAX = 4;

/** One database, its application, its replicas, and one daemon after the other. */
export class Simulation {
  readonly random: Random;
  readonly clock: SimulatedClock = new SimulatedClock();
  readonly history: History = new History();
  readonly interference: Interference;
  readonly files: SyncFileSystem = new SyncFileSystem();
  readonly tally: Tally = new Tally();
  readonly application: Application;
  readonly engine: Engine;
  readonly ledger: Ledger;
  readonly folder: string;
  /** Faults of the file system are armed. */
  faults = false;
  /** Local files were damaged or removed by somebody. */
  harmed = false;
  readonly autoRecover: boolean;
  /** What was done, for the report of a failure. */
  readonly steps: string[] = [];
  #restores = 0;

  readonly options: SimulationOptions;

  constructor(options: SimulationOptions) {
    const { seed, folder, replicas } = options;
    this.options = options;
    const random = new Random(seed);
    this.random = random;
    this.folder = mkdtempSync(join(folder, `run-${seed}-`));
    mkdirSync(join(this.folder, 'restored'));
    this.interference = new Interference(new Random(seed ^ 0x5eed).next);
    this.interference.act = () => this.#interfere();
    this.files.onCall = () => this.interference.engineCall();
    this.clock.onLook = () => this.interference.engineCall();
    const path = join(this.folder, 'db');
    this.application = new Application({
      path,
      random,
      history: this.history,
      interference: this.interference,
      tally: this.tally,
      pageSize: random.pick([512, 512, 1024, 4096]),
      autoVacuum: random.pick([0, 0, 1, 2]),
      autoCheckpoint: random.pick([0, 0, 4, 1000]),
      pageSizeChanges: options.pageSizeChanges === true,
    });
    this.autoRecover = random.chance(0.5);
    this.engine = new Engine({
      folder: this.folder,
      path,
      random,
      clock: this.clock,
      files: this.files,
      interference: this.interference,
      tally: this.tally,
      replicas: replicas ?? random.pick([1, 2, 2]),
      bridged: options.bridged === true,
      settings: {
        monitorIntervalMs: 0,
        monitorIntervalExplicit: false,
        checkpointIntervalMs: random.pick([0, 0, 1000, 60_000]),
        busyTimeoutMs: 1000,
        minCheckpointPages: random.between(5, 50),
        truncatePages: random.pick([0, -1, 8, 60]),
        maxSyncWalBytes: random.pick([0, 0, 0, 20_000]),
        autoRecover: this.autoRecover,
      },
    });
    this.ledger = new Ledger(this.engine.level0, this.history, this.engine.destinations);
  }

  /** One sync of the engine, others acting in between. */
  async sync(rate: number): Promise<void> {
    if (this.engine.txid === 0n) this.ledger.forgetLocal();
    const committed = this.history.last;
    this.interference.rate = rate;
    const failure = await this.engine.sync();
    this.interference.rate = 0;
    await this.#afterEngine();
    if (!this.engine.running) return;
    if (failure !== undefined) {
      await judgeSync(this, failure);
      return;
    }
    check(this.files.isDurable(this.engine.level0), 'the names of local files are durable');
    const { txid } = this.engine;
    if (txid === 0n) check(!this.application.exists, 'a database with pages has a position');
    else this.ledger.expectAsNew(txid, committed);
  }

  /** One upload to one destination. */
  async upload(index: number, rate: number): Promise<void> {
    const { txid } = this.engine;
    if (txid === 0n) return;
    this.interference.rate = rate;
    const failure = await this.engine.upload(index, txid);
    this.interference.rate = 0;
    await this.#afterEngine();
    if (!this.engine.running) return;
    if (failure !== undefined) {
      await judgeUpload(this, index, failure);
      return;
    }
    const remote = this.ledger.remotes[index];
    const current = this.engine.txid;
    // It may have become known only now that the replica's history is longer.
    const wanted = txid < current ? txid : current;
    check(remote !== undefined && remote.tip >= wanted, 'an upload reaches what it was asked for');
    const position = this.engine.position(index);
    check(position !== undefined && position >= wanted, 'the position follows the upload');
  }

  /** Restores one TXID of one destination and compares every byte. */
  async restore(index: number, txid: bigint): Promise<void> {
    const remote = this.ledger.remotes[index];
    const entry = remote?.entries.get(txid);
    if (remote === undefined || entry === undefined) return;
    this.tally.add('restore');
    const outputPath = join(this.folder, 'restored', String(this.#restores++));
    await this.clock.drive(
      restoreDatabase({
        client: remote.destination.memory,
        outputPath,
        target: { txid: toTxid(txid) },
        fileSystem: this.files,
        clock: this.clock,
        logger: noopLogger,
      }),
    );
    const bytes = readFileSync(outputPath);
    rmSync(outputPath);
    const same = Buffer.compare(bytes, entry.image) === 0;
    check(same, `${remote.name} restored at ${txid} is what was committed`);
  }

  /** Compares a snapshot's view with the state it stands for, others acting while it is read. */
  async view(rate: number): Promise<void> {
    const { interference } = this;
    interference.rate = rate;
    const outcome = await this.engine.readView();
    interference.rate = 0;
    await this.#afterEngine();
    if (!this.engine.running || outcome === undefined) return;
    if (outcome.failure !== undefined) {
      await judgeSync(this, outcome.failure);
      return;
    }
    const entry = this.ledger.local.entries.get(outcome.txid);
    check(entry !== undefined, 'a view has the number of a local file');
    const same = Buffer.compare(outcome.image, entry.image) === 0;
    check(same, `the view at ${outcome.txid} is what was committed`);
  }

  /** The daemon dies, or is told to end. */
  async stop(): Promise<void> {
    await this.engine.stop();
    this.files.forget();
    this.faults = false;
  }

  /** Every destination can be reached and answers. */
  reachAll(): void {
    for (const destination of this.engine.destinations) {
      destination.client.reset();
      destination.down = false;
    }
  }

  /** Faults end: everything is replicated after a few rounds, and every state can be restored. */
  async finish(): Promise<void> {
    const { application, engine } = this;
    this.reachAll();
    application.endLarge();
    if (!application.open) application.connect();
    if (engine.running) await this.stop();
    engine.start();
    for (let round = 0; round < ROUNDS_MAX && !this.#replicated(); round++) {
      await this.sync(0);
      if (!engine.running) engine.start();
      for (const index of engine.destinations.keys()) {
        if (engine.txid > 0n) await this.upload(index, 0);
      }
    }
    check(this.#replicated(), `everything is replicated after ${ROUNDS_MAX} rounds`);
    for (const [index, { tip }] of this.ledger.remotes.entries()) {
      await this.restore(index, tip);
      for (let n = 0; n < 3; n++) {
        await this.restore(index, 1n + BigInt(this.random.below(Number(tip))));
      }
    }
    check(application.integrity() === 'ok', "the application's database is intact");
    check(application.journalMode() === 'wal', 'the database stays in WAL mode');
    await this.stop();
    application.disconnect();
    engine.end();
    check(this.files.descriptors === 0, 'no file stays open');
    check(this.clock.pending === 0, 'no timer stays');
    const left = readdirSync(engine.level0).filter((name) => name.endsWith('.tmp'));
    check(left.length === 0, 'no temporary file stays');
  }

  /** Removes the run's files. */
  clean(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #replicated(): boolean {
    const { last } = this.history;
    const wanted = this.history.key(last);
    return this.ledger.remotes.every(
      ({ entries, tip }) => tip === this.engine.txid && entries.get(tip)?.key === wanted,
    );
  }

  async #afterEngine(): Promise<void> {
    if (this.interference.dead || this.engine.fileSystem.crashed) await this.stop();
    this.application.observe();
    if (this.engine.running) this.application.observeClosed();
    this.ledger.follow(this.engine.txid);
    this.#checkPositions();
  }

  #checkPositions(): void {
    if (!this.engine.running) return;
    const { txid } = this.engine;
    for (const [index, remote] of this.ledger.remotes.entries()) {
      const position = this.engine.position(index) ?? 0n;
      check(position <= txid, `${remote.name} is not ahead of the database`);
      check(position <= remote.tip, `${remote.name} holds everything up to its position`);
    }
  }

  #interfere(): void {
    const { application, random } = this;
    random.weighted<() => void>([
      [8, () => application.transact()],
      [2, () => application.checkpoint(random.pick(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']))],
      [1, () => application.openReader()],
      [2, () => application.closeReader()],
      [1, () => application.beginLarge()],
      [1, () => application.continueLarge()],
      [2, () => application.endLarge()],
      [0.3, () => application.vacuum()],
    ])();
  }
}
