import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { abortError } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';

const THREAD = new URL(
  `./wal-apply-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
  import.meta.url,
);

/** What the thread answers. */
export interface WalApplyReply {
  readonly error?: string;
}

/**
 * Moves all of a `-wal` file into its database, which nobody else uses, and removes it. Blocks for as long as the copy takes.
 *
 * A connection of its own for each WAL: SQLite reads a `-wal` file when it first looks at the database.
 */
export function applyWalSync(path: string): void {
  const url = pathToFileURL(path);
  url.searchParams.set('mode', 'rw');
  const database = new DatabaseSync(url, { timeout: 0 });
  try {
    // No -shm file; and whoever restores makes the file durable once, at the end.
    database.exec('PRAGMA locking_mode = exclusive; PRAGMA synchronous = off');
    const row = database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
    const answer = row === undefined ? 'nothing' : `${String(row['busy'])} ${String(row['log'])}`;
    if (answer !== '0 0') {
      throw new LitestreamError('ERR_DB_IO', `wal checkpoint answered ${answer}, expected 0 0`);
    }
  } finally {
    database.close();
  }
}

/** Applies WALs to databases on a thread of its own, which starts with the first one. */
export class WalApplier {
  #worker: Worker | undefined;

  /**
   * {@link applyWalSync}, one at a time.
   *
   * @throws LitestreamError `ERR_DB_IO`, or `ERR_ABORTED` as soon as the signal fires; the file is of no use then.
   */
  async apply(path: string, signal: AbortSignal): Promise<void> {
    const reply = await this.#request(path, signal);
    if (reply.error === undefined) return;
    throw new LitestreamError('ERR_DB_IO', reply.error, { details: { path } });
  }

  /** Ends the thread, and with it what it does. */
  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  #request(path: string, signal: AbortSignal): Promise<WalApplyReply> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(abortError(signal));
        return;
      }
      this.#worker ??= new Worker(THREAD);
      const worker = this.#worker;
      const end = (settle: () => void): void => {
        signal.removeEventListener('abort', onAbort);
        worker.off('message', onMessage);
        worker.off('error', onError);
        worker.off('exit', onExit);
        settle();
      };
      const onMessage = (reply: WalApplyReply): void => end(() => resolve(reply));
      const onError = (error: unknown): void => end(() => reject(error));
      const onExit = (): void =>
        end(() => reject(new LitestreamError('ERR_DB_IO', 'thread of the checkpoint ended')));
      const onAbort = (): void => {
        end(() => undefined);
        this.close().then(() => reject(abortError(signal)), reject);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      worker.once('message', onMessage);
      worker.once('error', onError);
      worker.once('exit', onExit);
      worker.postMessage(path);
    });
  }
}
