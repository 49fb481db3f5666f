import { LitestreamError } from '../lib/errors.ts';
import type { ReplicaLocation } from '../storage/index.ts';
import { isSafetyWord, unknownName } from './unknown-names.ts';

/** Parameters that each type reads from a URL, in both spellings. Spec: config 7.5. */
const PARAMETERS: Readonly<Record<ReplicaLocation['type'], readonly string[]>> = {
  file: [],
  s3: [
    'endpoint',
    'region',
    'forcePathStyle',
    'force-path-style',
    'skipVerify',
    'skip-verify',
    'signPayload',
    'sign-payload',
    'requireContentMD5',
    'require-content-md5',
    'storageClass',
    'storage-class',
    'partSize',
    'part-size',
    'concurrency',
    'lease',
    'sseCustomerAlgorithm',
    'sse-customer-algorithm',
    'sseCustomerKey',
    'sse-customer-key',
    // The program works this one out by itself.
    'sseCustomerKeyMD5',
    'sse-customer-key-md5',
    'sseKmsKeyId',
    'sse-kms-key-id',
  ],
  gs: [],
  abs: ['endpoint'],
  sftp: [],
  nats: [],
  oss: ['endpoint', 'region', 'partSize', 'part-size', 'concurrency'],
  webdav: [],
};

/** A parameter that nothing reads. */
export interface UnknownParameter {
  readonly parameter: string;
  readonly hint: string | undefined;
}

function parametersOf(url: string): string[] {
  const [, query = ''] = url.split('?', 2);
  return [...new URLSearchParams(query).keys()];
}

/** The parameters of a URL that its type does not know. */
export function unknownParameters(
  type: ReplicaLocation['type'],
  url: string | undefined,
): UnknownParameter[] {
  if (url === undefined) return [];
  const known = PARAMETERS[type];
  return parametersOf(url)
    .filter((parameter) => !known.includes(parameter))
    .map((parameter) => ({ parameter, hint: unknownName(parameter, known) }));
}

/**
 * What protects data is honoured or refused, never ignored.
 *
 * @throws LitestreamError `ERR_CONFIG` for an unknown parameter that speaks of encryption, certificates or leases
 */
export function refuseUnsafeParameters(
  type: ReplicaLocation['type'],
  url: string | undefined,
): void {
  for (const { parameter } of unknownParameters(type, url)) {
    if (!isSafetyWord(parameter)) continue;
    throw new LitestreamError(
      'ERR_CONFIG',
      `unsupported query parameter "${parameter}" in the URL of a replica of type ${type}`,
      { details: { parameter, type }, hint: 'set it in the configuration file' },
    );
  }
}
