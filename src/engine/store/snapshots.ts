import type { EncodePool, LtxPageWriter } from '../../codec/index.ts';
import type { Spool } from '../../compaction/index.ts';
import { LTX_NO_CHECKSUM, toTxid, type LtxHeader, type Txid } from '../../formats/ltx/index.ts';
import { type Clock, throwIfAborted, yieldToLoop } from '../../lib/clock.ts';
import type { SnapshotView } from '../db/capture-loop.ts';

/** The event loop gets a turn after this long. */
const TURN_MS = 8;

export interface SnapshotOptions {
  readonly view: SnapshotView;
  readonly spool: Spool;
  readonly pool: EncodePool;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

/**
 * Writes every page of a view into a spool, as a file from TXID 1 to the view's. The view is released as soon as no page is needed any
 * more. The event loop gets its turns.
 *
 * Spec: replication 16, formats 2.22.
 */
export async function encodeSnapshot(options: SnapshotOptions): Promise<Txid> {
  const { clock, pool, signal, spool, view } = options;
  let writer: LtxPageWriter | undefined;
  try {
    const { commit } = view.transaction;
    writer = pool.writer(
      { header: headerOf(view, clock.now()), sink: (bytes) => spool.write(bytes) },
      commit,
    );
    let turn = clock.monotonic();
    const { transaction } = view;
    for (let pgno = transaction.next(0); pgno !== 0; pgno = transaction.next(pgno)) {
      while (writer.needsFlush) await writer.flush();
      transaction.read(pgno, writer.slot());
      writer.add(pgno);
      if ((writer.pageCount & 15) !== 0 || clock.monotonic() - turn < TURN_MS) continue;
      await yieldToLoop();
      throwIfAborted(signal);
      turn = clock.monotonic();
    }
    view.release();
    await writer.finish();
    return view.txid;
  } catch (error) {
    writer?.discard();
    throw error;
  } finally {
    view.release();
  }
}

function headerOf({ pageSize, transaction, txid }: SnapshotView, timestampMs: number): LtxHeader {
  const { commit, range } = transaction;
  return {
    flags: LTX_NO_CHECKSUM,
    pageSize,
    commit,
    minTxid: toTxid(1n),
    maxTxid: txid,
    timestampMs,
    preApplyChecksum: 0n,
    walOffset: range.offset,
    walSize: range.size,
    walSalt1: range.salt1,
    walSalt2: range.salt2,
    nodeId: 0n,
  };
}
