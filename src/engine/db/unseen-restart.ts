import type { CaptureSession } from './session.ts';

/**
 * True if a commit has restarted the WAL since the last capture. While the session lives this is known to have lost nothing; after
 * its end nobody could tell, and the next start would have to write the whole database.
 */
export function restartedUnseen({ capture, live }: CaptureSession): boolean {
  const header = capture.header();
  const at = capture.position;
  if (header === undefined || !live.readerStands) return false;
  if (header.salt1 === at?.salt1 && header.salt2 === at.salt2) return false;
  // A new connection would open other files.
  return live.replacement() === undefined;
}
