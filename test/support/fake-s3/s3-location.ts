import type { S3Location } from '../../../src/storage/index.ts';

/** A location with everything unset but what is given. */
export function s3Location(given: Partial<S3Location>): S3Location {
  return {
    type: 's3',
    bucket: given.bucket ?? 'testbucket',
    path: given.path ?? 'p',
    region: given.region ?? '',
    endpoint: given.endpoint ?? '',
    forcePathStyle: given.forcePathStyle,
    skipVerify: given.skipVerify ?? false,
    signPayload: given.signPayload,
    requireContentMd5: given.requireContentMd5,
    storageClass: given.storageClass ?? '',
    partSizeBytes: given.partSizeBytes,
    concurrency: given.concurrency,
    accessKeyId: given.accessKeyId ?? '',
    secretAccessKey: given.secretAccessKey ?? '',
    sseCustomerAlgorithm: given.sseCustomerAlgorithm ?? '',
    sseCustomerKey: given.sseCustomerKey ?? '',
    sseCustomerKeyPath: given.sseCustomerKeyPath ?? '',
    sseKmsKeyId: given.sseKmsKeyId ?? '',
    lease: given.lease ?? false,
  };
}
