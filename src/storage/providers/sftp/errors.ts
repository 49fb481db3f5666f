import { type ErrorCode, isLitestreamError, LitestreamError } from '../../../lib/errors.ts';

/** Answers of an SFTP server of version 3. */
export const STATUS = {
  endOfFile: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  noConnection: 6,
  connectionLost: 7,
  unsupported: 8,
  /** Of later versions; some servers give it to older clients. */
  alreadyExists: 11,
  noSpace: 14,
  quotaExceeded: 15,
} as const;

const TEXTS: ReadonlyMap<number, string> = new Map([
  [STATUS.noSuchFile, 'file does not exist'],
  [STATUS.permissionDenied, 'permission denied'],
  [STATUS.noConnection, 'connection lost'],
  [STATUS.connectionLost, 'connection lost'],
  [STATUS.noSpace, 'no space left on device'],
  [STATUS.quotaExceeded, 'disk quota exceeded'],
]);

const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [STATUS.noSuchFile, 'ERR_STORAGE_NOT_FOUND'],
  [STATUS.permissionDenied, 'ERR_STORAGE_DENIED'],
  [STATUS.noConnection, 'ERR_STORAGE_TEMPORARY'],
  [STATUS.connectionLost, 'ERR_STORAGE_TEMPORARY'],
  [STATUS.noSpace, 'ERR_DISK_FULL'],
  [STATUS.quotaExceeded, 'ERR_DISK_FULL'],
]);

/** What the server answered in place of a result. Its text is the server's, which may be as little as `Failure`. */
export class SftpStatusError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** True if the server answered with this status. */
export function hasStatus(error: unknown, ...statuses: readonly number[]): boolean {
  return error instanceof SftpStatusError && statuses.includes(error.status);
}

/**
 * An error of one operation with a storage code: `sftp: cannot …: permission denied`. Errors of the connection, of a source and of an
 * abort keep their text.
 */
export function storageError(what: string, path: string, error: unknown): unknown {
  if (!(error instanceof SftpStatusError)) return error;
  const { status, message } = error;
  const code = CODES.get(status) ?? 'ERR_STORAGE';
  const text = TEXTS.get(status) ?? message;
  return new LitestreamError(code, `sftp: ${what}: ${text}`, {
    cause: error,
    retryable: code === 'ERR_STORAGE_TEMPORARY',
    details: { path, status },
    ...(code === 'ERR_STORAGE_DENIED' && {
      hint: 'check the owner and the permissions of the folder on the server',
    }),
  });
}

/** Runs one operation and translates the server's answer. */
export async function named<T>(what: string, path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw storageError(what, path, error);
  }
}

const LOST = 'connectionLost';

/** The connection is gone: what was under way may or may not have been done. */
export function lostError(host: string, reason: string, cause?: unknown): LitestreamError {
  return new LitestreamError('ERR_STORAGE_TEMPORARY', `sftp: ${host}: connection lost: ${reason}`, {
    cause,
    retryable: true,
    details: { host, [LOST]: true },
    hint: 'a new connection is made for the next attempt',
  });
}

/** True if a connection that had been made was lost: the same again on a new one may succeed. */
export function isLost(error: unknown): boolean {
  return isLitestreamError(error) && error.details[LOST] === true;
}
