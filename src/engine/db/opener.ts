import { NO_TXID, type LtxHeader, type Txid } from '../../formats/ltx/index.ts';
import { sleep } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import { LiveDatabase, readDatabaseHeader, type CheckpointWorker } from '../../sqlite/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { DatabaseOptions, Ports } from '../options.ts';
import type { Replica } from '../replica/replica.ts';
import { proveContinuity, sameBytes, type Continuity } from './continuity.ts';
import type { LocalFiles } from './local-files.ts';
import { ContinuityLost } from './continuity-lost.ts';
import { withRefusedPaths } from './refused-paths.ts';
import { CaptureSession } from './session.ts';
import { chooseStartPoint, sayUseless, type StartPoint } from './start-point.ts';
import type { FullReason, Transaction } from './transaction.ts';
import { WalCapture } from './wal-capture.ts';

export interface OpenerOptions {
  readonly options: DatabaseOptions;
  readonly ports: Ports;
  readonly files: LocalFiles;
  readonly replicas: readonly Replica[];
  readonly worker: CheckpointWorker;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Continuity is known to be broken: prove nothing, write everything. */
  readonly broken: FullReason | undefined;
}

/** A database under custody, and the transaction to begin with. */
export interface Opened {
  readonly session: CaptureSession;
  readonly start: StartPoint;
  /** Timestamp of the newest file, milliseconds; 0 if there is none. */
  readonly timestampMs: number;
  /** Undefined if capture goes on where the newest file ends. */
  readonly first: Transaction | undefined;
}

/** First history of a database: nothing has to be explained. */
const FIRST: FullReason = { reason: '', level: 'info' };

/**
 * Opens the database, begins custody, and finds out where capture may go on. The caller has checked that the file exists.
 *
 * @throws LitestreamError `ERR_DB_BUSY` if a lock is in the way for longer than the busy timeout, and everything that
 * `LiveDatabase.open` and `proveContinuity` throw; nothing stays open then
 */
export async function openSession(opener: OpenerOptions): Promise<Opened> {
  const live = await openLive(opener);
  try {
    const start = await chooseStartPoint({ ...opener, clock: opener.ports.clock });
    const opened = await begin(live, start, opener);
    await dropForeign(opened, opener);
    return opened;
  } catch (error) {
    await live.close();
    if (!isLitestreamError(error, 'ERR_DB_READONLY')) throw error;
    throw await withRefusedPaths(opener.options.path, opener.ports.fileSystem, error);
  }
}

async function openLive({ options, ports, worker, signal }: OpenerOptions): Promise<LiveDatabase> {
  const { clock, descriptorSink } = ports;
  const until = clock.monotonic() + options.busyTimeoutMs;
  for (let delayMs = 1; ; delayMs = Math.min(5, delayMs + 1)) {
    let live: LiveDatabase | undefined;
    try {
      live = LiveDatabase.open({ path: options.path, worker, descriptorSink });
    } catch (error) {
      throw await withRefusedPaths(options.path, ports.fileSystem, error);
    }
    if (live !== undefined) return live;
    if (clock.monotonic() >= until) {
      throw locked(options.path);
    }
    await sleep(clock, delayMs, signal);
  }
}

/** Nothing of ours is open: the header may be read. */
function locked(path: string): LitestreamError {
  const text = 'database is locked (5) (SQLITE_BUSY)';
  if (readDatabaseHeader(path)?.writeVersion === 1) {
    return new LitestreamError('ERR_DB_BUSY', `cannot switch ${path} to WAL mode: ${text}`, {
      retryable: true,
      hint: 'run PRAGMA journal_mode = wal in the application, or close its connections for a moment',
    });
  }
  return new LitestreamError('ERR_DB_BUSY', text, {
    retryable: true,
    hint: 'another connection holds a lock (locking_mode=EXCLUSIVE, a long write, or a journal mode change)',
  });
}

async function begin(
  live: LiveDatabase,
  start: StartPoint,
  opener: OpenerOptions,
): Promise<Opened> {
  if (start.anchor === NO_TXID) {
    const adopted = start.lastTxid > 0n;
    const why: FullReason = adopted
      ? { reason: 'local state is gone and the replica is ahead', level: 'warn' }
      : FIRST;
    return beginFull(live, start, opener.broken ?? why, undefined);
  }
  const proof = await proveFrom(start, live, opener);
  if (proof === undefined) {
    const why: FullReason = { reason: 'the newest file of the replica is damaged', level: 'warn' };
    return beginFull(live, { ...start, anchor: NO_TXID }, opener.broken ?? why, undefined);
  }
  if (opener.broken !== undefined) {
    const breaksHistory = proof.kind === 'unproven' && proof.why.breaksHistory === true;
    return beginFull(live, start, { ...opener.broken, breaksHistory }, proof.header);
  }
  if (proof.kind === 'proven') {
    const { capture, header } = proof;
    const session = new CaptureSession(live, capture, header.commit);
    try {
      await captureFirst(session, capture);
      return { session, start, timestampMs: header.timestampMs, first: undefined };
    } catch (error) {
      if (!(error instanceof ContinuityLost)) throw error;
      return beginFull(live, start, { reason: error.reason, level: 'info' }, header);
    }
  }
  const opened = await beginFull(live, start, proof.why, proof.header);
  if (proof.comparable === undefined || opened.first === undefined) return opened;
  if (proof.comparable.commit !== opened.first.commit) return opened;
  const same = await holdsSame(opener.files, start.anchor, opened.first, live.pageSize);
  return same ? { ...opened, first: undefined } : opened;
}

/**
 * A file that was fetched from a replica, and of which this database is not proven to be the continuation, must not be uploaded to
 * another replica: there it would follow files of another history.
 */
async function dropForeign({ first, start }: Opened, { files }: OpenerOptions): Promise<void> {
  const { adopted, anchor } = start;
  if (adopted === undefined || first === undefined || anchor === NO_TXID) return;
  await files.remove([anchor]);
}

/**
 * Undefined if the anchor was fetched from a replica that holds it damaged: fetching it again would not help, and capture goes on
 * without it. What is wrong with a file of our own is an error.
 */
async function proveFrom(
  { adopted, anchor }: StartPoint,
  live: LiveDatabase,
  { files, logger }: OpenerOptions,
): Promise<Continuity | undefined> {
  try {
    return await proveContinuity(live, files, anchor);
  } catch (error) {
    if (adopted === undefined || !isLitestreamError(error, 'ERR_LTX_CORRUPTED')) throw error;
    sayUseless(logger, anchor, error);
    await files.remove([anchor]);
    return undefined;
  }
}

/** What stood in the WAL before our reader began may be overwritten meanwhile; then it is not all there. */
async function captureFirst(session: CaptureSession, capture: WalCapture): Promise<void> {
  const guard = capture.reader((pgno, target) => session.live.readPage(pgno, target));
  await session.captureNow({ limitBytes: 0, gather: false, yields: true });
  if (guard.ended()) throw new ContinuityLost('wal restarted before it was captured');
}

async function beginFull(
  live: LiveDatabase,
  start: StartPoint,
  why: FullReason,
  header: LtxHeader | undefined,
): Promise<Opened> {
  const session = new CaptureSession(
    live,
    new WalCapture(live.wal(), live.pageSize, () => live.registeredFrames()),
    0,
  );
  const first = await session.freezeFull(why);
  return { session, start, timestampMs: header?.timestampMs ?? 0, first };
}

/**
 * True if the newest file holds every page and each equals the database now: then nothing has happened, whatever became of the
 * WAL. Keeps restarts of a database that nobody uses from adding a full file each time.
 */
async function holdsSame(
  files: LocalFiles,
  newest: Txid,
  now: Transaction,
  pageSize: number,
): Promise<boolean> {
  const image = new Uint8Array(pageSize);
  const seen = { expected: now.next(0), different: false };
  await files.verify(newest, (pgno, page) => {
    if (seen.different) return;
    seen.different = pgno !== seen.expected;
    if (seen.different) return;
    now.read(pgno, image);
    seen.different = !sameBytes(image, page);
    seen.expected = now.next(pgno);
  });
  return !seen.different && seen.expected === 0;
}
