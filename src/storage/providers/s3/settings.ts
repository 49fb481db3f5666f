import { LitestreamError } from '../../../lib/errors.ts';
import type { S3Location } from '../../locations.ts';
import { accessPointRegion } from './address.ts';
import { type S3Quirks, quirksOf } from './quirks.ts';
import { PART_SIZE_MIN } from './upload.ts';

const CONCURRENCY = 5;

/** A location with everything decided but the region of a bucket at AWS. */
export interface S3Settings {
  readonly bucket: string;
  readonly path: string;
  /** Empty = AWS. */
  readonly endpoint: string;
  readonly quirks: S3Quirks;
  /** Undefined: to be looked up. */
  readonly region: string | undefined;
  readonly pathStyle: boolean | undefined;
  readonly signPayload: boolean;
  readonly contentMd5: boolean;
  readonly partSize: number;
  readonly concurrency: number;
  readonly storageClass: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

function environmentEndpoint(environment: Environment): string {
  return environment['AWS_ENDPOINT_URL_S3'] || environment['AWS_ENDPOINT_URL'] || '';
}

/**
 * What a location means: explicit settings, then those of the service behind the endpoint, then the usual ones.
 * Spec: backends 3.5.4, 3.5.6, 5.2.1, 5.2.3.
 *
 * @throws LitestreamError `ERR_CONFIG` without a bucket.
 */
export function resolveSettings(location: S3Location, environment: Environment): S3Settings {
  const { bucket, path, storageClass } = location;
  if (bucket === '') throw new LitestreamError('ERR_CONFIG', 's3: bucket name is required');
  const endpoint = location.endpoint || environmentEndpoint(environment);
  const quirks = quirksOf(endpoint);
  const arnRegion = accessPointRegion(bucket);
  const region = arnRegion || location.region || (endpoint === '' ? undefined : 'us-east-1');
  return {
    bucket,
    path,
    endpoint,
    quirks,
    region: arnRegion === '' ? '' : region,
    pathStyle: location.forcePathStyle ?? (quirks.pathStyle ? true : undefined),
    signPayload: location.signPayload ?? true,
    contentMd5: location.requireContentMd5 ?? quirks.contentMd5,
    partSize: location.partSizeBytes ?? PART_SIZE_MIN,
    concurrency: location.concurrency ?? quirks.concurrency ?? CONCURRENCY,
    storageClass,
  };
}
