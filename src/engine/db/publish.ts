import {
  encodeAlone,
  LtxFileWriter,
  type EncodePool,
  type LtxFileWriterOptions,
  type WrittenLtxFile,
} from '../../codec/index.ts';
import { LTX_NO_CHECKSUM, type LtxHeader, type Txid } from '../../formats/ltx/index.ts';
import { type Clock, throwIfAborted, yieldToLoop } from '../../lib/clock.ts';
import { EarlySync } from '../../lib/early-sync.ts';
import { LitestreamError, wrapError } from '../../lib/errors.ts';
import type { OpenFile } from '../../lib/file-system.ts';
import { isDiskFull } from '../../lib/os-error.ts';
import { ContinuityLost } from './continuity-lost.ts';
import type { LocalFiles } from './local-files.ts';
import type { Transaction } from './transaction.ts';

/** The event loop gets a turn after this long. */
const TURN_MS = 8;

export interface PublishOptions {
  readonly files: LocalFiles;
  readonly clock: Clock;
  /** Threads for a large file. */
  readonly pool: EncodePool | undefined;
  readonly txid: Txid;
  readonly pageSize: number;
  readonly timestampMs: number;
  readonly signal: AbortSignal;
}

/** What was written. */
export interface Published {
  /** Bytes. */
  readonly size: number;
  readonly pages: number;
}

/**
 * Writes a transaction as the level-0 file of `txid`: temporary file, fsync, rename, fsync of the folder. Once it returns
 * the file is durable; after an error no trace of it is left.
 *
 * @throws LitestreamError with the reference's operation names (`stage-open ltx file <path>: …`); `ERR_DISK_FULL` on a full
 * disk
 */
export async function publish(
  transaction: Transaction,
  options: PublishOptions,
): Promise<Published> {
  const { files, txid } = options;
  let file: OpenFile | undefined;
  let stage = 'stage-mkdir';
  try {
    await files.makeFolder();
    stage = 'stage-open';
    file = await files.create(txid);
    stage = 'stage-write';
    const { size, pageCount } = await encode(transaction, file, options);
    // What was dropped may hold images of a WAL that was overwritten: it must not get its name.
    throwIfAborted(options.signal);
    stage = 'stage-sync';
    await files.publish(txid, file);
    return { size, pages: pageCount };
  } catch (error) {
    await files.discard(txid, file);
    throw stagingError(stage, `${files.pathOf(txid)}.tmp`, error);
  }
}

function headerOf({ range, commit }: Transaction, options: PublishOptions): LtxHeader {
  return {
    flags: LTX_NO_CHECKSUM,
    pageSize: options.pageSize,
    commit,
    minTxid: options.txid,
    maxTxid: options.txid,
    timestampMs: options.timestampMs,
    preApplyChecksum: 0n,
    walOffset: range.offset,
    walSize: range.size,
    walSalt1: range.salt1,
    walSalt2: range.salt2,
    nodeId: 0n,
  };
}

async function encode(
  transaction: Transaction,
  file: OpenFile,
  options: PublishOptions,
): Promise<WrittenLtxFile> {
  const early = new EarlySync(file, 'l0:sync-early');
  const target: LtxFileWriterOptions = {
    header: headerOf(transaction, options),
    async sink(bytes, position) {
      await file.write('l0:write', bytes, position);
      early.note(bytes.length);
    },
  };
  const { clock, pool, signal } = options;
  const { pages } = transaction;
  try {
    let written: WrittenLtxFile;
    if (pages === undefined) written = await encodeIncrement(transaction, target, options);
    else if (pool === undefined) written = await encodeAlone(target, pages, { clock, signal });
    else written = await pool.encode(target, pages, signal);
    await early.settle();
    return written;
  } catch (error) {
    // The caller closes the file.
    await early.settle().catch(() => undefined);
    throw error;
  }
}

/** Increments are small, or else made of what the application writes in a moment: threads would come too late. */
async function encodeIncrement(
  transaction: Transaction,
  target: LtxFileWriterOptions,
  { clock, signal }: PublishOptions,
): Promise<WrittenLtxFile> {
  const writer = new LtxFileWriter(target);
  try {
    let turn = clock.monotonic();
    for (let pgno = transaction.next(0); pgno !== 0; pgno = transaction.next(pgno)) {
      transaction.read(pgno, writer.slot());
      writer.add(pgno);
      if (writer.needsFlush) await writer.flush();
      else if ((writer.pageCount & 63) !== 0 || clock.monotonic() - turn < TURN_MS) continue;
      else await yieldToLoop();
      throwIfAborted(signal);
      turn = clock.monotonic();
    }
    return await writer.finish();
  } catch (error) {
    writer.discard();
    throw error;
  }
}

function stagingError(stage: string, path: string, error: unknown): Error {
  if (error instanceof ContinuityLost) return error;
  if (error instanceof LitestreamError && error.code === 'ERR_ABORTED') return error;
  const full = isDiskFull(error);
  const wrapped = wrapError(`${stage} ltx file ${path}${full ? ': disk full' : ''}`, error);
  return new LitestreamError(full ? 'ERR_DISK_FULL' : wrapped.code, wrapped.message, {
    cause: error,
    retryable: true,
    details: { ...wrapped.details, path },
  });
}
