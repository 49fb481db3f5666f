import type { RestError } from '@azure/storage-blob';
import type { Clock } from '../../../lib/clock.ts';
import { errorMessage, LitestreamError, wrapError } from '../../../lib/errors.ts';
import { HttpStatusError, isRetryableStatus, retryAfterMs, statusCode } from '../../http/index.ts';

/** What to do about an answer that people meet often. */
const HINTS: Readonly<Record<string, string>> = {
  AuthenticationFailed:
    'check the account name, the key or the SAS token, and the clock of this machine',
  AuthorizationFailure: 'check the account key, and the network rules of the storage account',
  AuthorizationPermissionMismatch:
    'give the identity the role "Storage Blob Data Contributor" (to restore: "Reader"), or the SAS token the permissions racwdl',
  AuthorizationServiceMismatch: 'create the SAS token for the blob service',
  ContainerNotFound: 'create the container: it is never created automatically',
};

/** Codes of refusals that pass by themselves, whatever their status. */
const PASSING: ReadonlySet<string> = new Set([
  'AccountBeingCreated',
  'ContainerBeingDeleted',
  'ContainerDisabled',
  // Another writer of the same name has committed: our blocks are gone, a new upload succeeds.
  'InvalidBlockList',
]);

const EXISTS: ReadonlySet<string> = new Set([
  'BlobAlreadyExists',
  'ConditionNotMet',
  'TargetConditionNotMet',
]);

/** Errors of the network that the SDK hands on with their system's name, or under one of its own names. */
const NETWORK =
  /^(?:E(?:CONN|AI_|HOST|NET|NOTFOUND|PIPE|TIMEDOUT|PROTO)\w*|UND_ERR_\w+|REQUEST_SEND_ERROR|PARSE_ERROR|ETIMEDOUT)$/;

const CERTIFICATE = /CERT|ISSUER|VERIFY|SELF_SIGNED|ALTNAME/;

function isRestError(error: unknown): error is RestError {
  return error instanceof Error && error.name === 'RestError';
}

/** Messages of the service end with lines about the request, which only its support can use. */
function firstLine(error: unknown): string {
  return (errorMessage(error).split('\n')[0] ?? '').trim();
}

function headersOf(error: RestError): Readonly<Record<string, string>> {
  return error.response?.headers.toJSON() ?? {};
}

/** The service's name of the problem, in a header where the answer has no body (HEAD) or none that can be read. */
function serviceCode(error: RestError, headers: Readonly<Record<string, string>>): string {
  return headers['x-ms-error-code'] ?? error.code ?? '';
}

function answerError(error: RestError, status: number, clock: Clock): LitestreamError {
  const headers = headersOf(error);
  const code = serviceCode(error, headers);
  const retryAfter = retryAfterMs(headers, clock);
  const hint = HINTS[code];
  const passing = PASSING.has(code);
  const refusedContainer = code === 'ContainerNotFound';
  return new HttpStatusError(
    `${code === '' ? '' : `${code} `}(HTTP ${status}): ${firstLine(error)}`,
    {
      status,
      retryable: passing || isRetryableStatus(status),
      code: EXISTS.has(code)
        ? 'ERR_STORAGE_EXISTS'
        : passing
          ? 'ERR_STORAGE_TEMPORARY'
          : refusedContainer
            ? 'ERR_STORAGE'
            : statusCode(status),
      ...(code !== '' && { providerCode: code }),
      ...(retryAfter !== undefined && { retryAfterMs: retryAfter }),
      details: { ...(code !== '' && { code }), requestId: headers['x-ms-request-id'] },
      ...(hint !== undefined && { hint }),
    },
  );
}

function connectionFailure(error: Error, code: string): LitestreamError {
  const details = code === '' ? {} : { errno: code };
  if (CERTIFICATE.test(code)) {
    const hint = 'give the authority that signed the certificate in NODE_EXTRA_CA_CERTS';
    return new LitestreamError('ERR_STORAGE', firstLine(error), { details, hint });
  }
  return new LitestreamError('ERR_STORAGE_TEMPORARY', firstLine(error), {
    details,
    retryable: true,
    hint: 'check the network, the endpoint and the account name',
  });
}

/** Failures of `@azure/identity`: no credential was found, or none was accepted. */
function isIdentityError(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^(?:AggregateAuthentication|Authentication|CredentialUnavailable)/.test(error.name)
  );
}

/**
 * Anything that the SDK throws, as one of ours without a prefix. The original is left out on purpose: it carries the request
 * with its signature.
 */
export function storageError(error: unknown, clock: Clock): LitestreamError {
  if (error instanceof LitestreamError) return error;
  if (isIdentityError(error)) {
    const hint =
      'set account-key or sas-token, or the variables of a service principal (AZURE_TENANT_ID, …), or give this machine a managed identity';
    return new LitestreamError('ERR_STORAGE_DENIED', firstLine(error), { hint });
  }
  if (isRestError(error) && error.statusCode !== undefined) {
    return answerError(error, error.statusCode, clock);
  }
  const code =
    error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (
    error instanceof Error &&
    (NETWORK.test(code) || CERTIFICATE.test(code) || isRestError(error))
  ) {
    return connectionFailure(error, code);
  }
  return new LitestreamError('ERR_STORAGE', firstLine(error), { cause: error });
}

/** A stream that ended early or broke off: the wrapper around every client asks for the rest. */
export function brokenStream(error: unknown, clock: Clock): LitestreamError {
  const translated = storageError(error, clock);
  if (translated.retryable) return translated;
  return new LitestreamError('ERR_STORAGE_TEMPORARY', translated.message, {
    retryable: true,
    details: translated.details,
  });
}

/** Puts the operation before the message, once. */
export function prefixed(prefix: string, error: unknown): unknown {
  if (!(error instanceof LitestreamError) || error.code === 'ERR_ABORTED') return error;
  if (error.code.startsWith('ERR_LTX') || error.message.startsWith(prefix)) return error;
  return wrapError(prefix, error);
}

/** True for the answer that there is no such blob, or no container for it to be in. */
export function isMissingBlob(error: unknown): boolean {
  if (!(error instanceof LitestreamError)) return false;
  const { code, status } = error.details;
  return status === 404 || code === 'BlobNotFound' || code === 'ContainerNotFound';
}
