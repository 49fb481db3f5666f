import { Worker } from 'node:worker_threads';
import { type Clock, type TimerHandle } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { CheckpointReply, CheckpointRequest } from './checkpoint-thread.ts';
import type { CheckpointResult } from './connection.ts';

/** Beside this file, from sources and from the build alike. */
const THREAD = new URL(
  `./checkpoint-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
  import.meta.url,
);

/** A thread costs about 10 MB; it goes when nobody needed it for this long. */
const IDLE_MS = 30_000;

interface Pending {
  /** The thread that was asked: one that ends late must not fail its successor's requests. */
  readonly worker: Worker;
  readonly resolve: (result: CheckpointResult | undefined) => void;
  readonly reject: (error: LitestreamError) => void;
}

/**
 * Runs long checkpoints off the main thread, for all databases of the process. The thread starts with the first request, or
 * when one is to be expected, and ends after 30 idle seconds.
 */
export class CheckpointWorker {
  readonly #clock: Clock;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #idle: TimerHandle | undefined;
  #nextId = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** PASSIVE checkpoint on a connection of the worker's. @throws LitestreamError `ERR_DB_IO` */
  async checkpoint(path: string): Promise<CheckpointResult> {
    const result = await this.#request({ kind: 'checkpoint', id: this.#nextId++, path });
    return result ?? { busy: true, log: -1, checkpointed: -1 };
  }

  /** Starts the thread if it is not there: for somebody who will soon need it and cannot wait for its start. */
  prepare(): void {
    if (this.#worker !== undefined) return;
    this.#start();
    this.#waitIdle();
  }

  /** Closes the worker's connection to a database, before the main thread closes its own. */
  async forget(path: string): Promise<void> {
    if (this.#worker === undefined) return;
    await this.#request({ kind: 'forget', id: this.#nextId++, path });
  }

  /** Ends the thread. Databases must still be open on the main thread, or have been forgotten. */
  async close(): Promise<void> {
    this.#idle?.cancel();
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  #request(request: CheckpointRequest): Promise<CheckpointResult | undefined> {
    return new Promise((resolve, reject) => {
      this.#idle?.cancel();
      const worker = this.#start();
      this.#pending.set(request.id, { worker, resolve, reject });
      worker.postMessage(request);
    });
  }

  #start(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(THREAD);
    worker.unref();
    worker.on('message', (reply: CheckpointReply) => {
      this.#settle(reply);
    });
    worker.on('error', (error) => {
      this.#fail(
        worker,
        new LitestreamError('ERR_DB_IO', 'checkpoint thread failed', { cause: error }),
      );
    });
    worker.on('exit', () => {
      this.#fail(worker, new LitestreamError('ERR_DB_IO', 'checkpoint thread ended'));
    });
    this.#worker = worker;
    return worker;
  }

  #settle(reply: CheckpointReply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#waitIdle();
    if (pending === undefined) return;
    if ('error' in reply) {
      pending.reject(new LitestreamError('ERR_DB_IO', reply.error, { retryable: true }));
    } else {
      pending.resolve(reply.result);
    }
  }

  #waitIdle(): void {
    this.#idle?.cancel();
    this.#idle = this.#clock.timer(IDLE_MS, () => void this.close());
  }

  #fail(worker: Worker, error: LitestreamError): void {
    if (this.#worker === worker) this.#worker = undefined;
    for (const [id, pending] of this.#pending) {
      if (pending.worker !== worker) continue;
      this.#pending.delete(id);
      pending.reject(error);
    }
  }
}
