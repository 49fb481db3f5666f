import type { Txid } from '../../formats/ltx/index.ts';
import { type Clock, sleep } from '../../lib/clock.ts';
import { errorMessage, LitestreamError, wrapError } from '../../lib/errors.ts';
import { DurationValue, type Logger } from '../../telemetry/index.ts';
import type { Database } from '../db/database.ts';
import type { Replica } from '../replica/replica.ts';

/** Lines about attempts that fail: the first ones, then one in this time. Spec: interfaces 7.1, failures OPS-06. */
const LINES_AT_FIRST = 3;
const LINE_EVERY_MS = 30_000;

export interface FinalSyncOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** 0 = exactly one attempt. */
  readonly timeoutMs: number;
  readonly intervalMs: number;
  /** Fires when the user does not want to wait any longer. */
  readonly interrupt: AbortSignal | undefined;
}

/**
 * Ends what a database does by itself, brings everything committed until now into its replicas and releases it. The local part is done
 * although the loops may never have come round. Never throws.
 *
 * Spec: replication 21.2, failures OPS-17.
 *
 * @returns the first failure
 */
export async function closeDatabase(
  database: Database,
  options: FinalSyncOptions,
): Promise<LitestreamError | undefined> {
  let failure: LitestreamError | undefined;
  const note = (error: unknown): void => {
    failure ??= error instanceof LitestreamError ? error : wrapError('close db', error);
  };
  await database.stopLoops();
  let { txid } = database;
  try {
    txid = await database.sync();
  } catch (error) {
    note(error);
    // What is durable here can still go up.
    ({ txid } = database);
  }
  const uploads = database.replicas.map(async (replica) => {
    try {
      if (txid > 0n) await finalUpload(database, replica, txid, options);
    } catch (error) {
      note(error);
    }
  });
  await Promise.all(uploads);
  try {
    await database.release();
  } catch (error) {
    note(error);
  }
  return failure;
}

/**
 * The last upload of a database at shutdown: tried again until it works, the time is up, or the user interrupts.
 *
 * Spec: replication 21.2.
 *
 * @throws LitestreamError `ERR_SHUTDOWN_TIMEOUT`, `ERR_SHUTDOWN_INTERRUPTED`
 */
export async function finalUpload(
  database: Database,
  replica: Replica,
  txid: Txid,
  options: FinalSyncOptions,
): Promise<void> {
  const { clock, interrupt, logger } = options;
  const startedAt = clock.monotonic();
  const elapsed = (): DurationValue => new DurationValue(Math.round(clock.monotonic() - startedAt));
  if (interrupt?.aborted === true) {
    const attributes = { attempts: 0, duration: elapsed() };
    logger.log('warn', 'shutdown sync skipped, interrupted by signal', attributes);
    throw interrupted(0);
  }
  let saidAt = startedAt;
  for (let attempts = 1; ; attempts++) {
    const failure = await attempt(database, replica, txid, remaining(options, startedAt));
    if (failure === undefined) {
      if (attempts === 1) return;
      const attributes = { attempts, duration: elapsed() };
      logger.log('info', 'shutdown sync succeeded after retry', attributes);
      return;
    }
    if (isInterrupted(interrupt)) throw sayInterrupted(logger, attempts, elapsed(), failure);
    const left = options.timeoutMs - (clock.monotonic() - startedAt);
    if (left <= 0) throw timedOut(logger, attempts, elapsed(), failure);
    if (attempts <= LINES_AT_FIRST || clock.monotonic() - saidAt >= LINE_EVERY_MS) {
      saidAt = clock.monotonic();
      logger.log('warn', 'shutdown sync failed, retrying (press Ctrl+C again to skip)', {
        attempts,
        error: errorMessage(failure),
        elapsed: elapsed(),
        remaining: new DurationValue(Math.round(left)),
      });
    }
    try {
      await sleep(clock, Math.min(left, options.intervalMs || 500), interrupt);
    } catch {
      throw sayInterrupted(logger, attempts, elapsed(), failure);
    }
  }
}

/** Ends an attempt in flight when the user interrupts or the time is up. */
function remaining(
  options: FinalSyncOptions,
  startedAt: number,
): { signal: AbortSignal; cancel: () => void } {
  const deadline = new AbortController();
  const left = options.timeoutMs - (options.clock.monotonic() - startedAt);
  const timer = options.clock.timer(Math.max(1000, left), () => {
    deadline.abort(new LitestreamError('ERR_TIMEOUT', 'context deadline exceeded'));
  });
  const signals = [
    deadline.signal,
    ...(options.interrupt === undefined ? [] : [options.interrupt]),
  ];
  return { signal: AbortSignal.any(signals), cancel: () => timer.cancel() };
}

async function attempt(
  database: Database,
  replica: Replica,
  txid: Txid,
  bound: { signal: AbortSignal; cancel: () => void },
): Promise<unknown> {
  try {
    await database.syncReplica(replica, txid, bound.signal);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    bound.cancel();
  }
}

function isInterrupted(interrupt: AbortSignal | undefined): boolean {
  return interrupt?.aborted === true;
}

function interrupted(attempts: number): LitestreamError {
  const text = 'shutdown sync interrupted';
  return new LitestreamError(
    'ERR_SHUTDOWN_INTERRUPTED',
    attempts === 0 ? text : `after ${attempts} attempts: ${text}`,
  );
}

function sayInterrupted(
  logger: Logger,
  attempts: number,
  duration: DurationValue,
  failure: unknown,
): LitestreamError {
  logger.log('warn', 'shutdown sync interrupted by signal', {
    attempts,
    duration,
    error: errorMessage(failure),
  });
  return interrupted(attempts);
}

function timedOut(
  logger: Logger,
  attempts: number,
  duration: DurationValue,
  failure: unknown,
): LitestreamError {
  const error = errorMessage(failure);
  logger.log('error', 'shutdown sync failed after timeout', { attempts, duration, error });
  return new LitestreamError(
    'ERR_SHUTDOWN_TIMEOUT',
    `shutdown sync timeout after ${attempts} attempts: ${error}`,
    { cause: failure },
  );
}
