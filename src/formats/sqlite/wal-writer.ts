import { checksumPair, walChecksumBytes } from '../../kernels/index.ts';
import { encodeWalHeader, WAL_FRAME_HEADER_SIZE, walSize, type WalHeaderFields } from './wal.ts';

/** One frame of a WAL that {@link buildWal} writes. */
export interface WalFrameContent {
  readonly pgno: number;
  /** Database size in pages if this frame ends a transaction; default 0. */
  readonly commit?: number;
  /** One page. */
  readonly data: Uint8Array;
}

/** A whole WAL as SQLite would write it, with valid checksums; for tests. Spec: formats 6.2, 6.3. */
export function buildWal(
  fields: WalHeaderFields,
  frames: readonly WalFrameContent[],
): Uint8Array<ArrayBuffer> {
  const { pageSize, bigEndian, salt1, salt2 } = fields;
  const bytes = new Uint8Array(walSize(frames.length, pageSize));
  const view = new DataView(bytes.buffer);
  bytes.set(encodeWalHeader(fields));
  const pair = checksumPair(view.getInt32(24), view.getInt32(28));
  frames.forEach((frame, position) => {
    const at = walSize(position, pageSize);
    view.setUint32(at, frame.pgno);
    view.setUint32(at + 4, frame.commit ?? 0);
    view.setUint32(at + 8, salt1);
    view.setUint32(at + 12, salt2);
    bytes.set(frame.data, at + WAL_FRAME_HEADER_SIZE);
    const end = at + WAL_FRAME_HEADER_SIZE + pageSize;
    walChecksumBytes(bytes.subarray(at, at + 8), bigEndian, pair);
    walChecksumBytes(bytes.subarray(at + WAL_FRAME_HEADER_SIZE, end), bigEndian, pair);
    view.setInt32(at + 16, pair[0]!);
    view.setInt32(at + 20, pair[1]!);
  });
  return bytes;
}
