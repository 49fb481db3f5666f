import type { WalHeader } from '../../formats/sqlite/index.ts';
import { ContinuityLost } from './continuity-lost.ts';
import type { CaptureSession } from './session.ts';

/**
 * Other files are under the database's paths, or none: captures what was committed to those that are still open here. Nothing of
 * it may be guessed, because a full transaction follows anyway.
 *
 * @throws ContinuityLost if it cannot be told what belongs to the former database; LitestreamError
 */
export async function captureLast(session: CaptureSession): Promise<void> {
  const { capture, live } = session;
  const before = capture.header();
  if (!live.countOnce()) throw new ContinuityLost('read transaction was lost');
  if (!sameGeneration(before, capture.header())) {
    throw new ContinuityLost('wal restarted before it was captured');
  }
  await session.captureNow({ limitBytes: 0, gather: false, yields: true });
  // Whoever opens the next database would write into this WAL, too.
  if (!live.isDetached()) throw new ContinuityLost('its wal is still under the path');
}

function sameGeneration(a: WalHeader | undefined, b: WalHeader | undefined): boolean {
  return a?.salt1 === b?.salt1 && a?.salt2 === b?.salt2;
}
