import { type ErrorCode, LitestreamError } from './errors.ts';

/** The operating system's words as the reference (and people's grep patterns) know them. Spec: cli 21. */
const TEXTS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'address already in use',
  EADDRNOTAVAIL: 'cannot assign requested address',
  EBUSY: 'device or resource busy',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by peer',
  EDQUOT: 'disk quota exceeded',
  EEXIST: 'file exists',
  EHOSTUNREACH: 'no route to host',
  EINVAL: 'invalid argument',
  EIO: 'input/output error',
  EISDIR: 'is a directory',
  ELOOP: 'too many levels of symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'file name too long',
  ENFILE: 'too many open files in system',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'not a directory',
  ENOTEMPTY: 'directory not empty',
  EPERM: 'operation not permitted',
  EPIPE: 'broken pipe',
  EROFS: 'read-only file system',
  ETIMEDOUT: 'connection timed out',
  EXDEV: 'invalid cross-device link',
};

/** The `code` of a Node system error (`ENOENT` …), or undefined for anything else. Follows `cause` and `details.errno`. */
export function osErrorCode(error: unknown): string | undefined {
  if (error instanceof LitestreamError) {
    const { errno } = error.details;
    return typeof errno === 'string' ? errno : osErrorCode(error.cause);
  }
  if (error instanceof Error && 'code' in error && typeof error.code === 'string')
    return error.code;
  return undefined;
}

/** The operating system's text for an error code: `no such file or directory`. */
export function osErrorText(code: string): string {
  return TEXTS[code] ?? code;
}

/** True if the disk, or the user's share of it, is full. */
export function isDiskFull(error: unknown): boolean {
  const code = osErrorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') return true;
  return error instanceof LitestreamError && error.code === 'ERR_DISK_FULL';
}

/** True if the file or folder does not exist. */
export function isMissing(error: unknown): boolean {
  const code = osErrorCode(error);
  return code === 'ENOENT';
}

/**
 * `<operation> <path>: <text>`, the reference's form of a system error, with `details.errno` and the original as cause.
 * The code is `ERR_DISK_FULL` on a full disk, `ERR_IO` otherwise.
 */
export function osError(operation: string, path: string, error: unknown): LitestreamError {
  if (error instanceof LitestreamError) return error;
  const errno = osErrorCode(error);
  const text =
    errno === undefined
      ? error instanceof Error
        ? error.message
        : String(error)
      : osErrorText(errno);
  const code: ErrorCode = isDiskFull(error) ? 'ERR_DISK_FULL' : 'ERR_IO';
  return new LitestreamError(code, `${operation} ${path}: ${text}`, {
    cause: error,
    retryable: true,
    details: { path, operation, ...(errno === undefined ? {} : { errno }) },
  });
}
