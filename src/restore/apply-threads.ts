import { Worker } from 'node:worker_threads';
import { type Clock, throwIfAborted } from '../lib/clock.ts';
import { closeDirect, openDirect } from '../lib/direct-file.ts';
import { LitestreamError, wrapError } from '../lib/errors.ts';
import type { OpenFile } from '../lib/file-system.ts';
import type { PageOwners } from './page-owners.ts';
import type { PlannedRun, RunApplier, RunState } from './run.ts';
import {
  CONTROL_NEXT,
  CONTROL_STOP,
  CONTROL_WORDS,
  RUN_FIELDS,
  type ThreadJob,
  type ThreadPhase,
  type ThreadReply,
} from './thread-protocol.ts';

/** Beside this file, from sources and from the build alike. */
const THREAD = new URL(
  `./apply-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
  import.meta.url,
);

const TICK_MS = 100;
/** Written pages go to the disk while more are decoded, so that little is left for the sync at the end. */
const SYNC_BYTES = 256 << 20;

export interface ThreadsOptions {
  /** Runs of all files in plan order. */
  readonly runs: readonly PlannedRun[];
  readonly owners: PageOwners;
  readonly pageSize: number;
  /** Of the planned files. */
  readonly paths: readonly string[];
  readonly output: OpenFile;
  readonly outputPath: string;
  /** Bytes of the whole database. */
  readonly size: number;
  /** True if nobody reads the output soon: it need not be in the page cache. */
  readonly direct: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onBytes: (bytes: number) => void;
  /** Makes the error of one file, given by its number in the plan, one that names the file. */
  readonly explain: (file: number, error: LitestreamError) => Promise<unknown>;
}

/**
 * Applies runs of local files on threads that read, decode and write with synchronous calls. They are started before the plan's
 * files are surveyed, so that nobody waits for them. Spec: performance 8.
 */
export class ApplyThreads implements RunApplier {
  readonly #workers: readonly Worker[];
  readonly #control = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
  #options: ThreadsOptions | undefined;
  #states: BigUint64Array = new BigUint64Array();
  #hashed: Float64Array = new Float64Array();
  #direct = -1;
  #failure: LitestreamError | undefined;
  pageOne: Uint8Array = new Uint8Array();

  constructor(count: number) {
    this.#workers = Array.from({ length: count }, () => new Worker(THREAD));
    for (const worker of this.#workers) {
      worker.on('error', (error) => {
        this.#failure ??= wrapError('restore thread', error);
      });
    }
  }

  /** Tells the threads what the runs are. */
  async start(options: ThreadsOptions): Promise<void> {
    this.#options = options;
    const { runs, owners, pageSize, paths, output, outputPath, size } = options;
    if (options.direct) this.#direct = openDirect(output.fd);
    // Writing behind the end makes the file system wait for each write's new size.
    if (this.#direct >= 0) await output.truncate('restore:size', size);
    const shared = (bytes: number): SharedArrayBuffer => new SharedArrayBuffer(bytes);
    const table = new Float64Array(shared(runs.length * RUN_FIELDS * 8));
    for (const [at, run] of runs.entries()) {
      table.set([run.file, run.offset, run.bytes, run.pages, run.fold], at * RUN_FIELDS);
    }
    const job: ThreadJob = {
      kind: 'job',
      control: this.#control.buffer,
      runs: table.buffer,
      states: shared(runs.length * 8),
      hashed: shared(runs.length * 8),
      pageOne: shared(pageSize),
      owners: owners.shared,
      pageSize,
      paths,
      output: output.fd,
      direct: this.#direct,
      outputPath,
    };
    this.#states = new BigUint64Array(job.states);
    this.#hashed = new Float64Array(job.hashed);
    this.pageOne = new Uint8Array(job.pageOne);
    for (const worker of this.#workers) worker.postMessage(job);
  }

  state(run: number): RunState {
    return { state: this.#states[run] ?? 0n, hashed: this.#hashed[run] ?? 0 };
  }

  async apply(from: number, to: number): Promise<void> {
    const options = this.#options;
    if (options === undefined || from === to) return;
    throwIfAborted(options.signal);
    Atomics.store(this.#control, CONTROL_NEXT, from);
    const stop = (): void => {
      Atomics.store(this.#control, CONTROL_STOP, 1);
    };
    options.signal.addEventListener('abort', stop, { once: true });
    const watch = new PhaseWatch(options, this.#control, from, to);
    try {
      const replies = await Promise.all(this.#workers.map((worker) => this.#runPhase(worker, to)));
      throwIfAborted(options.signal);
      for (const reply of replies) {
        if (reply.kind === 'done') continue;
        const { code, message, details, file } = reply;
        throw await options.explain(file, new LitestreamError(code, message, { details }));
      }
    } finally {
      options.signal.removeEventListener('abort', stop);
      await watch.end();
    }
  }

  async close(): Promise<void> {
    Atomics.store(this.#control, CONTROL_STOP, 1);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
    closeDirect(this.#direct);
    this.#direct = -1;
  }

  #runPhase(worker: Worker, to: number): Promise<ThreadReply> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      const settle = (run: () => void): void => {
        worker.off('message', onMessage);
        worker.off('exit', onExit);
        run();
      };
      const onMessage = (reply: ThreadReply): void => settle(() => resolve(reply));
      const onExit = (): void => {
        Atomics.store(this.#control, CONTROL_STOP, 1);
        const ended = new LitestreamError('ERR_IO', 'restore thread ended early');
        settle(() => reject(this.#failure ?? ended));
      };
      worker.on('message', onMessage);
      worker.on('exit', onExit);
      const phase: ThreadPhase = { kind: 'phase', to };
      worker.postMessage(phase);
    });
  }
}

/** Reports progress while the threads work, and sends what they wrote to the disk. */
class PhaseWatch {
  readonly #options: ThreadsOptions;
  readonly #control: Int32Array;
  readonly #to: number;
  #timer: { cancel(): void };
  #reported: number;
  #unsynced = 0;
  #syncing: Promise<void> | undefined;
  #failure: LitestreamError | undefined;

  constructor(options: ThreadsOptions, control: Int32Array, from: number, to: number) {
    this.#options = options;
    this.#control = control;
    this.#reported = from;
    this.#to = to;
    this.#timer = this.#arm();
  }

  /** @throws what syncing threw */
  async end(): Promise<void> {
    this.#timer.cancel();
    this.#report();
    await this.#syncing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #arm(): { cancel(): void } {
    return this.#options.clock.timer(TICK_MS, () => {
      this.#report();
      if (this.#unsynced >= SYNC_BYTES && this.#syncing === undefined) this.#sync();
      this.#timer = this.#arm();
    });
  }

  #report(): void {
    const next = Math.min(this.#to, Atomics.load(this.#control, CONTROL_NEXT));
    let bytes = 0;
    for (const run of this.#options.runs.slice(this.#reported, next)) {
      bytes += run.bytes;
      this.#unsynced += run.pages * this.#options.pageSize;
    }
    this.#reported = Math.max(this.#reported, next);
    if (bytes > 0) this.#options.onBytes(bytes);
  }

  #sync(): void {
    this.#unsynced = 0;
    this.#syncing = this.#options.output
      .sync('restore:sync-early')
      .catch((error: unknown) => {
        this.#failure ??= wrapError('restore', error);
      })
      .finally(() => {
        this.#syncing = undefined;
      });
  }
}
