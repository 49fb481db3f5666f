import type { LtxHeader, Txid } from '../../formats/ltx/index.ts';
import { WAL_HEADER_SIZE } from '../../formats/sqlite/index.ts';
import type { LiveDatabase } from '../../sqlite/index.ts';
import type { LocalFiles } from './local-files.ts';
import { PageBatch } from './page-batch.ts';
import type { FullReason } from './transaction.ts';
import { WalCapture } from './wal-capture.ts';

/** Where capture may go on after a start. */
export type Continuity =
  /** The capture stands where the newest file ends; every later frame is in the WAL. */
  | { readonly kind: 'proven'; readonly capture: WalCapture; readonly header: LtxHeader }
  | {
      readonly kind: 'unproven';
      readonly why: FullReason;
      /** The newest file holds every page: comparing may still prove that nothing changed. */
      readonly comparable: LtxHeader | undefined;
      readonly header: LtxHeader | undefined;
    };

const TRUNCATED = 'wal truncated by another process';
const RESTARTED = 'full or restart checkpoint detected, snapshotting';
const OVERWRITTEN = 'last page does not exist in last ltx file, wal overwritten by another process';

/**
 * Proves, after a time without custody, that the WAL still holds everything since the newest transaction file: it is the
 * same generation (both salts), its checksum chain reaches the file's end, and the pages that the file took from the WAL
 * are byte for byte what the WAL holds in that range. Anything less is no proof. Our reader must stand already.
 *
 * Spec: design 3.5 (a). Salts of another generation prove nothing, whatever their arithmetic.
 *
 * @throws LitestreamError `ERR_LTX_CORRUPTED`, `ERR_LTX_MISSING` for the newest file
 */
export async function proveContinuity(
  live: LiveDatabase,
  files: LocalFiles,
  newest: Txid,
): Promise<Continuity> {
  const seen = { pages: 0, different: 0 };
  const capture = new WalCapture(live.wal(), live.pageSize, () => live.registeredFrames());
  const range = new PageBatch(live.pageSize);
  // The range is known only from the header, and the pages have to be compared while they are decoded: two readings.
  const header = await files.verify(newest);
  const unproven = (reason: string, level: 'info' | 'warn' = 'info'): Continuity => ({
    kind: 'unproven',
    why: { reason, level },
    comparable: header.pageSize === live.pageSize ? header : undefined,
    header,
  });
  if (header.pageSize !== live.pageSize) {
    return {
      kind: 'unproven',
      why: {
        reason: `page size changed from ${header.pageSize} to ${live.pageSize}`,
        level: 'warn',
        breaksHistory: true,
      },
      comparable: undefined,
      header,
    };
  }
  const end = header.walOffset + header.walSize;
  const wal = capture.header();
  if (wal === undefined || header.walOffset < WAL_HEADER_SIZE) return unproven(TRUNCATED);
  if (wal.salt1 !== header.walSalt1 || wal.salt2 !== header.walSalt2) return unproven(RESTARTED);
  if (live.wal().size() < end) return unproven(TRUNCATED);
  if (live.registeredFrames() < capture.frameAt(end)) return unproven(OVERWRITTEN);
  const { salt1, salt2 } = wal;
  if (!(await capture.replay(range, { salt1, salt2, from: header.walOffset, end }))) {
    return unproven(OVERWRITTEN);
  }
  if (header.walSize > 0) {
    if (capture.commit !== header.commit) return unproven(OVERWRITTEN);
    // What leaves the WAL meanwhile is not looked for in the database file, where the page may not even exist any more.
    const reader = capture.reader(() => undefined);
    const image = new Uint8Array(live.pageSize);
    await files.verify(newest, (pgno, page) => {
      if (!range.has(pgno)) return;
      seen.pages++;
      range.read(pgno, image, reader);
      if (!sameBytes(image, page)) seen.different++;
    });
    const expected = range.sortedPages(header.commit).length;
    if (reader.ended()) return unproven(RESTARTED);
    if (seen.different > 0 || seen.pages !== expected) return unproven(OVERWRITTEN);
  }
  return { kind: 'proven', capture, header };
}

/** True if both have the same bytes; equal lengths. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
