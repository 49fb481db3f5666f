import type { JetStreamApiError } from '@nats-io/jetstream';
import { errorMessage, LitestreamError, wrapError } from '../../../lib/errors.ts';

/** Numbers that the server gives its refusals. */
const STREAM_NOT_FOUND = 10_059;
const NOT_ENABLED: ReadonlySet<number> = new Set([10_039, 10_076]);
const WRONG_LAST_SEQUENCE: ReadonlySet<number> = new Set([10_071, 10_164]);
/** Limits of the stream, the account or the server's disk. */
const FULL: ReadonlySet<number> = new Set([10_002, 10_023, 10_028, 10_047, 10_077, 10_122]);

const TEMPORARY: ReadonlySet<string> = new Set([
  'ClosedConnectionError',
  'ConnectionError',
  'DrainingConnectionError',
  'JetStreamStatusError',
  'ProtocolError',
  'RequestError',
  'TimeoutError',
]);

const DENIED: ReadonlySet<string> = new Set([
  'AuthorizationError',
  'PermissionViolationError',
  'UserAuthenticationExpiredError',
]);

export const NO_JETSTREAM_HINT = 'switch JetStream on in the server, or for this account';
export const NO_BUCKET_HINT = 'create the bucket first: nats object add BUCKET';

function isApiError(error: unknown): error is JetStreamApiError {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'number' &&
    'apiError' in error
  );
}

/** True if the object has changed since it was looked at. */
export function isWrongLastSequence(error: unknown): boolean {
  return isApiError(error) && WRONG_LAST_SEQUENCE.has(error.code);
}

function apiError(error: JetStreamApiError): LitestreamError {
  const { code, status } = error;
  const text = `nats: ${error.message}`;
  const details = { code: String(code), status };
  if (code === STREAM_NOT_FOUND) {
    return new LitestreamError('ERR_STORAGE', text, { details, hint: NO_BUCKET_HINT });
  }
  if (NOT_ENABLED.has(code)) {
    return new LitestreamError('ERR_STORAGE', text, { details, hint: NO_JETSTREAM_HINT });
  }
  if (FULL.has(code)) {
    const hint = 'raise the limits of the bucket or of the account, or make room on the server';
    return new LitestreamError('ERR_DISK_FULL', text, { details, hint });
  }
  if (WRONG_LAST_SEQUENCE.has(code)) {
    return new LitestreamError('ERR_STORAGE_TEMPORARY', text, { details, retryable: true });
  }
  const temporary = status >= 500 || status === 408 || status === 429;
  return new LitestreamError(temporary ? 'ERR_STORAGE_TEMPORARY' : 'ERR_STORAGE', text, {
    details,
    retryable: temporary,
  });
}

/** The message of an error that has none of its own, as those that only wrap another one. */
function messageOf(error: unknown): string {
  const own = errorMessage(error);
  if (own !== '' || !(error instanceof Error)) return own;
  return error.cause === undefined ? error.name : messageOf(error.cause);
}

/** The name of the error, or of the refusal that it wraps. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (DENIED.has(at.name)) return at.name;
  }
  return error.name;
}

/** Anything that the libraries throw, as one of ours. */
export function storageError(error: unknown): LitestreamError {
  if (error instanceof LitestreamError) return error;
  if (isApiError(error)) return apiError(error);
  const name = nameOf(error);
  const text = `nats: ${messageOf(error)}`;
  const init = { cause: error, details: { code: name } };
  if (name === 'JetStreamNotEnabled') {
    return new LitestreamError('ERR_STORAGE', text, { ...init, hint: NO_JETSTREAM_HINT });
  }
  if (DENIED.has(name)) {
    const hint = 'check the credentials and the permissions of the user';
    return new LitestreamError('ERR_STORAGE_DENIED', text, { ...init, hint });
  }
  const temporary = TEMPORARY.has(name);
  return new LitestreamError(temporary ? 'ERR_STORAGE_TEMPORARY' : 'ERR_STORAGE', text, {
    ...init,
    retryable: temporary,
  });
}

/** {@link storageError} with the operation before its message; aborts and bad LTX files stay as they are. */
export function failed(what: string, error: unknown): LitestreamError {
  const translated = storageError(error);
  const { code } = translated;
  if (code === 'ERR_ABORTED' || code.startsWith('ERR_LTX')) return translated;
  if (code === 'ERR_STORAGE_EXISTS' || code === 'ERR_STORAGE_NOT_FOUND') return translated;
  return wrapError(what, translated);
}

export function connectionLost(host: string): LitestreamError {
  return new LitestreamError('ERR_STORAGE_TEMPORARY', `nats: connection to ${host} lost`, {
    retryable: true,
    details: { host, code: 'ConnectionLost' },
    hint: 'check the server and the network; the connection is made again by itself',
  });
}

/** True if the connection broke under the operation, which says nothing about the next one. */
export function isConnectionLost(error: unknown): boolean {
  return error instanceof LitestreamError && error.details['code'] === 'ConnectionLost';
}
