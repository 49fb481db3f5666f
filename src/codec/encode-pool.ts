import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { present } from '../lib/assert.ts';
import type { Clock, TimerHandle } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import { encodeAlone } from './encode-alone.ts';
import type { ChunkRequest, EncodeReply } from './encode-chunk.ts';
import type { LtxFileWriterOptions, WrittenLtxFile } from './ltx-writer-types.ts';
import type { PageSource } from './page-source.ts';
import { ThreadedEncoder } from './threaded-encoder.ts';

/** Beside this file, from sources and from the build alike. */
const THREAD = new URL(
  `./encode-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
  import.meta.url,
);

/** A thread costs about 10 MB and 75 ms to start; it goes when nobody needed it for this long. */
const IDLE_MS = 30_000;
const MOST_THREADS = 4;
/** Smaller files are done before the threads have started. */
const SMALLEST_BYTES = 16 << 20;

interface Pending {
  readonly worker: Worker;
  readonly resolve: (reply: EncodeReply) => void;
  readonly reject: (error: LitestreamError) => void;
}

/** Choices of an {@link EncodePool}; all for tests. */
export interface EncodePoolOptions {
  /** Without it the number of cores, at most 4. Below 2 everything stays on the calling thread. */
  readonly threads?: number;
  /** Page bytes from which a file is given threads. */
  readonly smallestBytes?: number;
}

/**
 * Threads that read and compress the pages of large files, for the whole process. They start with the first large file and end after
 * 30 idle seconds. One file at a time has them; others are written on the calling thread, so that memory stays bounded.
 *
 * Spec: performance 7, 15.
 */
export class EncodePool {
  readonly #clock: Clock;
  readonly #threads: number;
  readonly #smallestBytes: number;
  readonly #workers: Worker[] = [];
  readonly #pending = new Map<number, Pending>();
  #used = false;
  #idle: TimerHandle | undefined;
  #nextId = 1;
  #nextWorker = 0;

  constructor(clock: Clock, options: EncodePoolOptions = {}) {
    this.#clock = clock;
    this.#threads = options.threads ?? Math.min(availableParallelism(), MOST_THREADS);
    this.#smallestBytes = options.smallestBytes ?? SMALLEST_BYTES;
  }

  /** Threads that run at present. */
  get running(): number {
    return this.#workers.length;
  }

  /**
   * Writes a file of every page of a source: on threads if the file is large and nobody else uses them, else on the calling thread.
   * The bytes are the same. Once it returns or throws, the source is not read any more.
   *
   * @throws LitestreamError of the source or the sink, `ERR_IO` if a thread died, `ERR_ABORTED`
   */
  async encode(
    options: LtxFileWriterOptions,
    source: PageSource,
    signal?: AbortSignal,
  ): Promise<WrittenLtxFile> {
    const bytes = source.commit * options.header.pageSize;
    const alone = this.#threads < 2 || this.#used || bytes < this.#smallestBytes;
    if (alone) return encodeAlone(options, source, { clock: this.#clock, signal });
    this.#used = true;
    try {
      // One chunk being encoded and one waiting per thread, and the one that is being written.
      const chunks = 2 * this.#threads + 1;
      const port = { chunks, encode: (request: ChunkRequest) => this.#encode(request) };
      return await new ThreadedEncoder(options, source, port).run(signal);
    } finally {
      this.#used = false;
      this.#rest();
    }
  }

  /** Ends the threads; what they are doing fails. */
  async close(): Promise<void> {
    this.#idle?.cancel();
    await Promise.all(this.#workers.splice(0).map((worker) => worker.terminate()));
  }

  #encode(request: ChunkRequest): Promise<EncodeReply> {
    this.#idle?.cancel();
    if (this.#workers.length < this.#threads) this.#start();
    const at = this.#nextWorker++ % this.#workers.length;
    const worker = present(this.#workers[at], 'thread of the pool');
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { worker, resolve, reject });
      // A thread keeps the process alive exactly while somebody waits for it.
      worker.ref();
      worker.postMessage({ ...request, id });
    });
  }

  #start(): void {
    const worker = new Worker(THREAD);
    worker.unref();
    worker.on('message', (reply: EncodeReply) => {
      const pending = this.#pending.get(reply.id);
      this.#pending.delete(reply.id);
      const others = [...this.#pending.values()].some((other) => other.worker === worker);
      if (!others) worker.unref();
      pending?.resolve(reply);
    });
    worker.on('error', (error) => {
      this.#fail(worker, 'encode thread failed', error);
    });
    worker.on('exit', () => {
      this.#fail(worker, 'encode thread ended');
    });
    this.#workers.push(worker);
  }

  #fail(worker: Worker, text: string, cause?: unknown): void {
    const at = this.#workers.indexOf(worker);
    if (at >= 0) this.#workers.splice(at, 1);
    for (const [id, pending] of this.#pending) {
      if (pending.worker !== worker) continue;
      this.#pending.delete(id);
      pending.reject(new LitestreamError('ERR_IO', text, { cause, retryable: true }));
    }
  }

  #rest(): void {
    this.#idle?.cancel();
    if (this.#workers.length === 0) return;
    this.#idle = this.#clock.timer(IDLE_MS, () => void this.close());
  }
}
