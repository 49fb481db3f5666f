import type { Clock } from '../../../lib/clock.ts';
import type { ErrorCode } from '../../../lib/errors.ts';
import { HttpStatusError, isRetryableStatus, retryAfterMs, statusCode } from '../../http/index.ts';
import { readError, type ServiceError } from './answers.ts';

/** Codes whose request may succeed when it is repeated, whatever the status. Spec: backends 5.2.9. */
const RETRYABLE: ReadonlySet<string> = new Set([
  'BandwidthLimitExceeded',
  'ConditionalRequestConflict',
  'EC2ThrottledException',
  'InternalError',
  'LimitExceededException',
  'OperationAborted',
  'PriorRequestNotComplete',
  'ProvisionedThroughputExceededException',
  'RequestCanceled',
  'RequestLimitExceeded',
  'RequestThrottled',
  'RequestThrottledException',
  'RequestTimeout',
  'RequestTimeoutException',
  'ServiceUnavailable',
  'SlowDown',
  'SlowDownRead',
  'SlowDownWrite',
  'Throttling',
  'ThrottledException',
  'ThrottlingException',
  'TooManyRequestsException',
  'TransactionInProgressException',
]);

const CODES: Readonly<Record<string, ErrorCode>> = {
  NoSuchKey: 'ERR_STORAGE_NOT_FOUND',
  NoSuchBucket: 'ERR_STORAGE',
  NoSuchUpload: 'ERR_STORAGE',
  PreconditionFailed: 'ERR_STORAGE_EXISTS',
};

/** Codes for credentials that were good once. */
export const EXPIRED: ReadonlySet<string> = new Set([
  'ExpiredToken',
  'ExpiredTokenException',
  'TokenRefreshRequired',
]);

/** Codes of a feature that a store does not have. */
export const UNSUPPORTED: ReadonlySet<string> = new Set([
  'MethodNotAllowed',
  'NotImplemented',
  'UnsupportedOperation',
]);

const HINTS: Readonly<Record<string, string>> = {
  AccessDenied:
    'check the permissions of the key: s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket are needed',
  AuthorizationHeaderMalformed: 'check the region',
  EntityTooSmall: 'raise part-size',
  ExpiredToken: 'renew the temporary credentials',
  InvalidAccessKeyId: 'check access-key-id',
  InvalidToken: 'check AWS_SESSION_TOKEN',
  NoSuchBucket: 'check the name of the bucket; buckets are never created',
  PermanentRedirect: 'check the region and the endpoint',
  RequestTimeTooSkewed: 'set the clock of this machine',
  SignatureDoesNotMatch: 'check secret-access-key and the region',
};

/** What stands in an answer that is no success. */
export interface FailedAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  /** False: the request concerned the bucket, so that 404 does not mean a missing object. */
  readonly ofObject: boolean;
}

function regionHint(error: ServiceError, headers: FailedAnswer['headers']): string | undefined {
  const region = headers['x-amz-bucket-region'] ?? error.region;
  return region === '' ? undefined : `the bucket is in the region ${region}`;
}

function codeOf({ status, ofObject }: FailedAnswer, code: string, retryable: boolean): ErrorCode {
  const known = CODES[code];
  if (known !== undefined) return known;
  if (status === 412) return 'ERR_STORAGE_EXISTS';
  if (EXPIRED.has(code)) return 'ERR_STORAGE_DENIED';
  if (retryable) return 'ERR_STORAGE_TEMPORARY';
  return status === 404 && (code !== '' || !ofObject) ? 'ERR_STORAGE' : statusCode(status);
}

/**
 * The error of an answer: the status, the service's own code and text, and the request's id. Nothing of the request itself goes
 * into it. Spec: backends 1.10, 5.2.9.
 */
export async function answerError(
  what: string,
  answer: FailedAnswer,
  clock: Pick<Clock, 'now'>,
): Promise<HttpStatusError> {
  const { status, headers } = answer;
  const error = await readError(answer.text);
  const { code, message } = error;
  const requestId = headers['x-amz-request-id'] ?? '';
  const retryable = isRetryableStatus(status) || RETRYABLE.has(code);
  const said = [code === '' ? `status ${status}` : code, message].filter((part) => part !== '');
  const where = code === '' ? '' : ` (status ${status}${requestId && `, request ${requestId}`})`;
  const hint = regionHint(error, headers) ?? HINTS[code];
  return new HttpStatusError(`s3: ${what}: ${said.join(': ')}${where}`, {
    status,
    code: codeOf(answer, code, retryable),
    providerCode: code,
    retryable,
    retryAfterMs: retryAfterMs(headers, clock),
    details: { ...(code !== '' && { code }), ...(requestId !== '' && { requestId }) },
    ...(hint !== undefined && { hint }),
  });
}

/** The service's name for the problem; empty for any other error. */
export function providerCode(error: unknown): string {
  if (!(error instanceof Error)) return '';
  if (error instanceof HttpStatusError) return error.providerCode ?? '';
  return providerCode(error.cause);
}

/** The status of the answer; undefined if there was none. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  return error instanceof HttpStatusError ? error.status : statusOf(error.cause);
}
