/**
 * Stable codes of every error that this package throws on purpose. Match on the code, never on the message.
 * Codes are documented in docs/errors.md; within a major version none is removed or changes its meaning.
 */
export type ErrorCode =
  | 'ERR_ABORTED'
  | 'ERR_ASSERTION'
  | 'ERR_CONFIG'
  | 'ERR_CONFIG_NOT_FOUND'
  | 'ERR_DB_BUSY'
  | 'ERR_DB_INVALID'
  | 'ERR_DB_IO'
  | 'ERR_DB_NOT_FOUND'
  | 'ERR_DB_NOT_OPEN'
  | 'ERR_DB_NOT_READY'
  | 'ERR_DB_READONLY'
  | 'ERR_DISK_FULL'
  | 'ERR_INTEGRITY'
  | 'ERR_IO'
  | 'ERR_LEASE_HELD'
  | 'ERR_LEASE_NOT_HELD'
  | 'ERR_LOCKED'
  | 'ERR_LTX_CORRUPTED'
  | 'ERR_LTX_ENCODE'
  | 'ERR_LTX_HEADER'
  | 'ERR_LTX_MISSING'
  | 'ERR_LTX_NAME'
  | 'ERR_LZ4'
  | 'ERR_NO_SNAPSHOTS'
  | 'ERR_OUTPUT_EXISTS'
  | 'ERR_SHUTDOWN_INTERRUPTED'
  | 'ERR_SHUTDOWN_TIMEOUT'
  | 'ERR_SQLITE_VERSION'
  | 'ERR_STORAGE'
  | 'ERR_STORAGE_DENIED'
  | 'ERR_STORAGE_EXISTS'
  | 'ERR_STORAGE_NOT_FOUND'
  | 'ERR_STORAGE_TEMPORARY'
  | 'ERR_STORAGE_URL'
  | 'ERR_TIMEOUT'
  | 'ERR_TX_GAP'
  | 'ERR_TX_NOT_AVAILABLE'
  | 'ERR_TXID'
  | 'ERR_USAGE'
  | 'ERR_WAL_FORMAT'
  | 'ERR_WRITER_CONFLICT';

/** What a {@link LitestreamError} may carry beside code and message. */
export interface LitestreamErrorInit {
  readonly cause?: unknown;
  /** True if repeating the same call later may succeed without human help. */
  readonly retryable?: boolean;
  /** Machine-readable context: path, level, minTxid, maxTxid, offset, expected, found. Never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** One line that tells the user what to do. */
  readonly hint?: string;
}

/** Base of every error this package throws on purpose. */
export class LitestreamError extends Error {
  override readonly name: string = 'LitestreamError';
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, init: LitestreamErrorInit = {}) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = code;
    this.retryable = init.retryable ?? false;
    this.details = init.details ?? {};
    this.hint = init.hint;
  }
}

/** True if `error` is a {@link LitestreamError}, with this code if one is given. */
export function isLitestreamError(error: unknown, code?: ErrorCode): error is LitestreamError {
  return error instanceof LitestreamError && (code === undefined || error.code === code);
}

/** The message of anything that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The same error with `prefix: ` before its message; code, details, hint and retryability are kept and the
 * original becomes the cause.
 */
export function wrapError(prefix: string, error: unknown): LitestreamError {
  const message = `${prefix}: ${errorMessage(error)}`;
  if (error instanceof LitestreamError) {
    const { code, retryable, details, hint } = error;
    return new LitestreamError(code, message, {
      cause: error,
      retryable,
      details,
      ...(hint === undefined ? {} : { hint }),
    });
  }
  return new LitestreamError('ERR_IO', message, { cause: error });
}
