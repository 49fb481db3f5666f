import { errorMessage, isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import { addressOf } from './address.ts';
import { readLocation } from './answers.ts';
import { S3Api, type S3ApiOptions } from './api.ts';

/** Where buckets of any region can be asked about. */
const LOOKUP_REGION = 'us-east-1';

export interface RegionLookup {
  readonly bucket: string;
  readonly pathStyle: boolean | undefined;
  readonly api: Omit<S3ApiOptions, 'address' | 'region'>;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * The region of a bucket at AWS: by GetBucketLocation, else by what the service tells about the bucket in any answer, else
 * `AWS_REGION`. Spec: backends 5.2.2.
 *
 * @throws LitestreamError `s3: cannot lookup bucket region: …`
 */
export async function lookUpRegion(lookup: RegionLookup, signal?: AbortSignal): Promise<string> {
  const { bucket, pathStyle, environment } = lookup;
  const address = addressOf({ bucket, endpoint: '', region: LOOKUP_REGION, pathStyle });
  const api = new S3Api({ ...lookup.api, address, region: LOOKUP_REGION });
  const what = `get location of bucket ${bucket}`;
  try {
    return await api.call({ what, method: 'GET', query: { location: '' }, signal }, (answer) =>
      readLocation(what, answer.text),
    );
  } catch (error) {
    if (isLitestreamError(error, 'ERR_STORAGE_TEMPORARY')) throw failed(error);
    if (!isLitestreamError(error) || !error.code.startsWith('ERR_STORAGE')) throw error;
    const fallback =
      (await regionInHead(api, bucket, signal)) ||
      environment['AWS_REGION'] ||
      environment['AWS_DEFAULT_REGION'] ||
      '';
    if (fallback === '') throw failed(error);
    return fallback;
  }
}

/** The header is there even where the bucket may not be looked at. */
async function regionInHead(api: S3Api, bucket: string, signal?: AbortSignal): Promise<string> {
  const { headers } = await api.request({
    what: `head bucket ${bucket}`,
    method: 'HEAD',
    allowed: [301, 307, 400, 401, 403, 404],
    signal,
  });
  return headers['x-amz-bucket-region'] ?? '';
}

function failed(error: LitestreamError): LitestreamError {
  const { code, retryable, details } = error;
  return new LitestreamError(code, `s3: cannot lookup bucket region: ${errorMessage(error)}`, {
    cause: error,
    retryable,
    details,
    hint: error.hint ?? 'set the region in the configuration',
  });
}
