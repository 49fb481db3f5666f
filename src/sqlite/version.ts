import { DatabaseSync } from 'node:sqlite';
import { LitestreamError } from '../lib/errors.ts';

/** The release that first carried the fix for the WAL-reset corruption, and the older branches it was ported to. */
const FIXED_PATCH: Readonly<Record<number, number>> = { 44: 6, 50: 7, 51: 3 };
const FIXED_MINOR = 51;

/** True if this SQLite (`3.51.3`) does not corrupt databases when a WAL is reset while another connection reads it. */
export function hasWalResetFix(version: string): boolean {
  const found = /^(\d+)\.(\d+)\.(\d+)/.exec(version);
  if (found === null) return false;
  const [major, minor, patch] = [Number(found[1]), Number(found[2]), Number(found[3])];
  if (major !== 3) return major > 3;
  const fixedPatch = FIXED_PATCH[minor];
  return fixedPatch === undefined ? minor > FIXED_MINOR : patch >= fixedPatch;
}

/** The version of the SQLite library that this process uses. */
export function sqliteVersion(): string {
  const database = new DatabaseSync(':memory:');
  try {
    return String(database.prepare('select sqlite_version() as version').get()?.['version']);
  } finally {
    database.close();
  }
}

/**
 * Refuses to work on a SQLite that can corrupt databases.
 *
 * @throws LitestreamError `ERR_SQLITE_VERSION`
 */
export function requireSafeSqlite(version: string = sqliteVersion()): void {
  if (hasWalResetFix(version)) return;
  throw new LitestreamError(
    'ERR_SQLITE_VERSION',
    `SQLite ${version} can corrupt databases in WAL mode: 3.51.3 or newer is needed. Use Node.js 24.15 or newer`,
    { details: { expected: '3.51.3', found: version } },
  );
}
