import type { EncodePool } from '../../codec/index.ts';
import type { Spool } from '../../compaction/index.ts';
import {
  LTX_NO_CHECKSUM,
  LtxDecoder,
  LtxEncoder,
  toTxid,
  type LtxHeader,
  type Txid,
} from '../../formats/ltx/index.ts';
import { assert } from '../../lib/assert.ts';
import { type Clock, throwIfAborted } from '../../lib/clock.ts';
import type { WriteSource } from '../../storage/index.ts';
import type { SnapshotView } from '../db/capture-loop.ts';

export interface SnapshotOptions {
  readonly view: SnapshotView;
  readonly spool: Spool;
  readonly pool: EncodePool;
  readonly clock: Clock;
  /** Time of the snapshot, in milliseconds since the Unix epoch; now without it. */
  readonly timestampMs?: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Writes every page of a view into a spool, as a file from TXID 1 to the view's. The view is released as soon as no page is needed any
 * more.
 *
 * Spec: replication 16, formats 2.22.
 */
export async function encodeSnapshot(options: SnapshotOptions): Promise<Txid> {
  const { clock, pool, signal, spool, view } = options;
  const { pages } = view.transaction;
  assert(pages !== undefined, 'a view holds every page');
  try {
    await pool.encode(
      {
        header: headerOf(view, options.timestampMs ?? clock.now()),
        sink: (bytes) => spool.write(bytes),
      },
      { ...pages, release: () => view.release() },
      signal,
    );
    return view.txid;
  } finally {
    view.release();
  }
}

/**
 * Writes the pages of a file that holds all of them into a spool, as a snapshot up to its last TXID and with its time.
 *
 * @throws LitestreamError `ERR_LTX_CORRUPTED`, `ERR_LTX_MISSING`, or `ERR_LTX_ENCODE` if pages are missing
 */
export async function copyAsSnapshot(
  source: WriteSource,
  spool: Spool,
  signal: AbortSignal | undefined,
): Promise<void> {
  const pieces: Uint8Array[] = [];
  const encoder = new LtxEncoder((bytes) => {
    pieces.push(bytes.slice());
  });
  const decoder = new LtxDecoder({
    onHeader: (header) => encoder.encodeHeader({ ...header, minTxid: toTxid(1n) }),
    onPage: (pgno, data) => encoder.encodePage(pgno, data),
  });
  const drain = async (): Promise<void> => {
    for (const piece of pieces.splice(0)) await spool.write(piece);
  };
  for await (const piece of source.stream(signal)) {
    throwIfAborted(signal);
    decoder.write(piece);
    await drain();
  }
  decoder.end();
  encoder.close();
  await drain();
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
