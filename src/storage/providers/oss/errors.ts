import type { Clock } from '../../../lib/clock.ts';
import type { ErrorCode } from '../../../lib/errors.ts';
import {
  type HttpResponse,
  HttpStatusError,
  isRetryableStatus,
  retryAfterMs,
  statusCode,
} from '../../http/index.ts';
import { parseXml } from '../../xml/index.ts';

const BODY_SIZE_MAX = 64 * 1024;
const TEXT_MAX = 300;

const CODES: Readonly<Record<string, ErrorCode>> = {
  FileAlreadyExists: 'ERR_STORAGE_EXISTS',
  NoSuchBucket: 'ERR_STORAGE',
  NoSuchKey: 'ERR_STORAGE_NOT_FOUND',
  NoSuchUpload: 'ERR_STORAGE_TEMPORARY',
  RequestTimeout: 'ERR_STORAGE_TEMPORARY',
};

const HINTS: Readonly<Record<string, string>> = {
  AccessDenied: 'the key needs oss:GetObject, PutObject, DeleteObject, ListObjects on the bucket',
  InvalidAccessKeyId: 'check access-key-id or OSS_ACCESS_KEY_ID',
  NoSuchBucket: 'create the bucket, or correct its name, region or endpoint in the configuration',
  RequestTimeTooSkewed: 'set the clock of this machine',
  SecurityTokenExpired: 'the temporary key has ended; give a new one in the environment',
  SignatureDoesNotMatch: 'check secret-access-key or OSS_ACCESS_KEY_SECRET, and the region',
};

interface Failure {
  readonly code: string;
  readonly message: string;
}

/** Tolerant: what stands between us and the store answers with pages of its own. */
async function readFailure(body: string): Promise<Failure> {
  try {
    const root = await parseXml(body, { what: 'answer' });
    if (root.name === 'Error') {
      const message = (root.text('Message') ?? '').trim().slice(0, TEXT_MAX);
      return { code: (root.text('Code') ?? '').trim(), message };
    }
  } catch {
    // Plain text, or nothing.
  }
  const plain = body
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  return { code: '', message: plain.slice(0, TEXT_MAX) };
}

/** A HEAD request has an answer without body: the header names the problem. */
const CODE_HEADER = 'x-oss-ec';

/** The error of a failed request. Reads its body. */
export async function ossError(response: HttpResponse, clock: Clock): Promise<HttpStatusError> {
  const { status, headers } = response;
  const { code, message } = await readFailure(await response.text(BODY_SIZE_MAX));
  const known = Object.hasOwn(CODES, code) ? CODES[code] : undefined;
  const hint = Object.hasOwn(HINTS, code) ? HINTS[code] : undefined;
  const text = [code, message === code ? '' : message].filter((part) => part !== '').join(': ');
  const where = headers[CODE_HEADER];
  return new HttpStatusError(text === '' ? `HTTP ${status}` : `${text} (HTTP ${status})`, {
    status,
    code: known ?? statusCode(status),
    retryable: isRetryableStatus(status) || known === 'ERR_STORAGE_TEMPORARY',
    retryAfterMs: retryAfterMs(headers, clock),
    details: {
      requestId: headers['x-oss-request-id'] ?? '',
      ...(where !== undefined && { errorCode: where }),
    },
    ...(code !== '' && { providerCode: code }),
    ...(hint !== undefined && { hint }),
  });
}
