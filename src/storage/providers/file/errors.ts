import { type ErrorCode, isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import { osErrorCode } from '../../../lib/os-error.ts';

const DENIED: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS']);
const TEMPORARY: ReadonlySet<string> = new Set([
  'EAGAIN',
  'EBUSY',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'EINTR',
  'EIO',
  'EMFILE',
  'ENETDOWN',
  'ENETUNREACH',
  'ENFILE',
  'ENOMEM',
  'ESTALE',
  'ETIMEDOUT',
]);

function storageCode(errno: string): ErrorCode {
  if (DENIED.has(errno)) return 'ERR_STORAGE_DENIED';
  if (TEMPORARY.has(errno)) return 'ERR_STORAGE_TEMPORARY';
  return 'ERR_STORAGE';
}

/**
 * A file system error with a storage code. The text stays (`open /p: permission denied`). Anything that is no file system
 * error is returned as it is.
 */
export function storageError(error: unknown): unknown {
  if (!isLitestreamError(error, 'ERR_IO')) return error;
  const code = storageCode(osErrorCode(error) ?? '');
  return new LitestreamError(code, error.message, {
    cause: error,
    details: error.details,
    retryable: code === 'ERR_STORAGE_TEMPORARY',
  });
}

/** Runs one operation of the file system port and translates its error. */
export async function onDisk<T>(operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw storageError(error);
  }
}
