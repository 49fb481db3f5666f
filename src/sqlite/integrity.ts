import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { abortError } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { FileSystem } from '../lib/file-system.ts';

/** `quick` runs `PRAGMA quick_check`, `full` runs `PRAGMA integrity_check`. */
export type IntegrityMode = 'quick' | 'full';

const PRAGMAS: Readonly<Record<IntegrityMode, string>> = {
  quick: 'quick_check',
  full: 'integrity_check',
};

const THREAD = new URL(
  `./integrity-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
  import.meta.url,
);

/** What the thread answers: the rows of the check, or why there are none. */
export type IntegrityReply = { readonly rows: readonly string[] } | { readonly error: string };

export interface IntegrityOptions {
  readonly fileSystem: FileSystem;
  readonly signal?: AbortSignal | undefined;
}

export function isIntegrityMode(value: unknown): value is IntegrityMode {
  return value === 'quick' || value === 'full';
}

/** Rows of the check, `ok` alone for a sound database. Blocks for as long as reading the whole file takes. */
export function checkIntegritySync(path: string, mode: IntegrityMode): string[] {
  const url = pathToFileURL(path);
  // Read-write: a connection that may not write cannot open a file in WAL mode that has no -shm. Nothing is changed.
  url.searchParams.set('mode', 'rw');
  const database = new DatabaseSync(url);
  try {
    const pragma = PRAGMAS[mode];
    return database
      .prepare(`PRAGMA ${pragma}`)
      .all()
      .map((row) => String(row[pragma] ?? Object.values(row)[0]));
  } finally {
    database.close();
  }
}

/** Runs the check on a thread of its own, so that the event loop, and with it the signal, stays alive. */
function runOnThread(
  path: string,
  mode: IntegrityMode,
  signal: AbortSignal | undefined,
): Promise<IntegrityReply> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(abortError(signal));
      return;
    }
    const worker = new Worker(THREAD, { workerData: { path, mode } });
    const end = (settle: () => void): void => {
      signal?.removeEventListener('abort', onAbort);
      worker.terminate().then(settle, settle);
    };
    const onAbort = (): void => end(() => reject(abortError(signal)));
    signal?.addEventListener('abort', onAbort, { once: true });
    worker.once('message', (reply: IntegrityReply) => end(() => resolve(reply)));
    worker.once('error', (error) => end(() => reject(error)));
  });
}

/**
 * Checks a database that nobody else uses, and removes the `-wal` and `-shm` that SQLite creates for the check.
 *
 * Spec: replication 23.4 step 6.
 *
 * @throws LitestreamError `ERR_INTEGRITY` (`integrity check failed: <first row>`), `ERR_ABORTED`. The file stays where it is.
 */
export async function checkIntegrity(
  path: string,
  mode: IntegrityMode,
  options: IntegrityOptions,
): Promise<void> {
  const { fileSystem, signal } = options;
  try {
    const reply = await runOnThread(path, mode, signal);
    const found = 'error' in reply ? reply.error : (reply.rows[0] ?? 'no answer');
    if ('rows' in reply && found === 'ok') return;
    throw new LitestreamError('ERR_INTEGRITY', `integrity check failed: ${found}`, {
      details: { path, expected: 'ok', found, ...('rows' in reply ? { rows: reply.rows } : {}) },
    });
  } finally {
    await fileSystem.remove('integrity:remove', `${path}-wal`);
    await fileSystem.remove('integrity:remove', `${path}-shm`);
  }
}
