import type { Clock } from '../../../lib/clock.ts';
import type { ErrorCode } from '../../../lib/errors.ts';
import {
  type HttpResponse,
  HttpStatusError,
  isRetryableStatus,
  retryAfterMs,
  statusCode,
} from '../../http/index.ts';
import { child, textOf } from './json.ts';

/** What an answer of the store says about a failure. */
interface Failure {
  readonly status: number;
  /** The store's sentence. */
  readonly message: string;
  /** The store's word for it, such as `rateLimitExceeded`; empty if it gives none. */
  readonly reason: string;
}

const TEXT_MAX = 300;
const BODY_SIZE_MAX = 64 * 1024;
/** Told with status 403 although the same request may succeed later. */
const RATE_LIMITS = /^(?:rateLimitExceeded|userRateLimitExceeded)$/;

/** Reads the body of a failed request: JSON from the API, plain text or XML from what is in front of it. */
function readFailure(status: number, body: string): Failure {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    const plain = body
      .replace(/<[^>]*>/g, ' ')
      .replace(/\s+/g, ' ')
      .trim();
    return { status, message: plain.slice(0, TEXT_MAX), reason: '' };
  }
  const error = child(parsed, 'error');
  const errors = child(error, 'errors');
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  const message = textOf(child(error, 'message')) || textOf(child(first, 'message'));
  return {
    status,
    message: (message || textOf(error)).slice(0, TEXT_MAX),
    reason: textOf(child(first, 'reason')),
  };
}

function codeOf({ status, reason }: Failure): ErrorCode {
  if (status === 412) return 'ERR_STORAGE_EXISTS';
  if (RATE_LIMITS.test(reason)) return 'ERR_STORAGE_TEMPORARY';
  return statusCode(status);
}

function hintOf({ status }: Failure, bucket: string): string | undefined {
  if (status !== 401 && status !== 403) return undefined;
  return `check the credentials and their role on bucket ${bucket} (Storage Object Admin)`;
}

function missingBucket(status: number, bucket: string): HttpStatusError {
  return new HttpStatusError(`storage: bucket "${bucket}" doesn't exist`, {
    status,
    code: 'ERR_STORAGE',
    details: { bucket },
    hint: 'create the bucket, or correct its name in the configuration',
  });
}

/** What a request asks about: a 404 to a question about the bucket means that there is none. */
export type Subject = 'bucket' | 'object';

/** The error of a failed request. Reads its body. */
export async function gsError(
  response: HttpResponse,
  { bucket, subject, clock }: { bucket: string; subject: Subject; clock: Clock },
): Promise<HttpStatusError> {
  const { status, headers } = response;
  const failure = readFailure(status, await response.text(BODY_SIZE_MAX));
  const { message, reason } = failure;
  const named = /bucket (?:does not|doesn't) exist/i.test(message);
  if (status === 404 && (subject === 'bucket' || named)) return missingBucket(status, bucket);
  const code = codeOf(failure);
  const hint = hintOf(failure, bucket);
  const text = message === '' ? reason : message;
  return new HttpStatusError(`HTTP ${status}${text === '' ? '' : `: ${text}`}`, {
    status,
    code,
    retryable: isRetryableStatus(status) || code === 'ERR_STORAGE_TEMPORARY',
    retryAfterMs: retryAfterMs(headers, clock),
    details: { bucket },
    ...(reason !== '' && { providerCode: reason }),
    ...(hint !== undefined && { hint }),
  });
}
