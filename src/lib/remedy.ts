import { LitestreamError } from './errors.ts';
import { osErrorCode } from './os-error.ts';

const BY_ERRNO: Readonly<Record<string, string>> = {
  EACCES: 'run litestream as the user that the application runs as, or give its user access',
  EPERM: 'run litestream as the user that the application runs as, or give its user access',
  EROFS: 'the file system is mounted read-only: choose another place, or mount it writable',
  ENOSPC: 'free space on the disk',
  EDQUOT: 'raise the quota, or free space',
  ENOTDIR: 'a part of the path is a file: correct the path',
};

const BY_CODE: Readonly<Record<string, string>> = {
  ERR_DB_INVALID: 'check the path: the file is no SQLite database, or it is encrypted',
  ERR_DB_READONLY:
    'give litestream write access to the database, its -wal and -shm files, and their folder: SQLite needs it even to read in WAL mode',
  ERR_LTX_CORRUPTED:
    'a damaged file in a replica: restore -around-damage does without it if other files give the same state; verify says what is lost',
  ERR_STORAGE_DENIED: 'check the credentials and what they permit',
};

/** One line that says what to do about an error: its own hint, else what usually helps. Undefined if nothing is known. */
export function remedyOf(error: unknown): string | undefined {
  if (!(error instanceof LitestreamError)) return undefined;
  return error.hint ?? BY_CODE[error.code] ?? BY_ERRNO[osErrorCode(error) ?? ''];
}
