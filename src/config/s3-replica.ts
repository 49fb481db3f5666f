import { LitestreamError } from '../lib/errors.ts';
import type { S3Location } from '../storage/index.ts';
import type { ReplicaKeys } from './keys.ts';
import {
  cleanUrlPath,
  firstText,
  parseUrl,
  type ParsedUrl,
  queryBoolean,
  queryInteger,
  queryText,
} from './replica-url.ts';

interface S3Host {
  readonly bucket: string;
  readonly region?: string;
  readonly endpoint?: string;
  readonly pathStyle?: boolean;
}

const HOSTS: readonly (readonly [
  form: RegExp,
  read: (bucket: string, region: string) => S3Host,
])[] = [
  [
    /^(?<bucket>.+)\.s3(?:\.(?<region>[^.]+))?\.amazonaws\.com$/,
    (bucket, region) => ({ bucket, region }),
  ],
  [
    /^(?:(?<bucket>.+)\.)?(?<region>[^.]+)\.digitaloceanspaces\.com$/,
    (bucket, region) => ({ bucket, region, endpoint: `https://${region}.digitaloceanspaces.com` }),
  ],
  [
    /^(?:(?<bucket>.+)\.)?s3\.(?<region>[^.]+)\.backblazeb2\.com$/,
    (bucket, region) => ({
      bucket,
      region,
      endpoint: `https://s3.${region}.backblazeb2.com`,
      pathStyle: true,
    }),
  ],
  [
    /^(?:(?<bucket>.+)\.)?s3\.filebase\.com$/,
    (bucket) => ({ bucket, endpoint: 's3.filebase.com' }),
  ],
  [
    /^(?:(?<bucket>.+)\.)?s3\.(?<region>[^.]+)\.scw\.cloud$/,
    (bucket, region) => ({ bucket, region, endpoint: `s3.${region}.scw.cloud` }),
  ],
];

const LOCAL_HOST =
  /^(?:localhost|127\.0\.0\.1|192\.168\..*|10\..*|172\.(?:1[6-9]\.|2|3[01]\.).*|.*\.local|.*\.localhost)$/;

/** What the host part of an `s3://` URL says. Spec: config 7.4. */
function readHost(host: string): S3Host {
  if (host.includes(':') && !host.includes('.com')) {
    const dot = host.indexOf('.');
    const bucket = dot < 0 ? '' : host.slice(0, dot);
    const rest = host.slice(dot + 1);
    return { bucket, region: 'us-east-1', endpoint: `http://${rest}`, pathStyle: true };
  }
  for (const [form, read] of HOSTS) {
    const found = form.exec(host);
    if (found !== null) return read(found.groups?.['bucket'] ?? '', found.groups?.['region'] ?? '');
  }
  return { bucket: host };
}

/** The endpoint of a URL's query, with a scheme. Spec: config 7.5. */
export function withScheme(endpoint: string): string {
  if (/^https?:\/\//i.test(endpoint)) return endpoint;
  const host = endpoint.replace(/[:/].*$/, '').toLowerCase();
  return `${LOCAL_HOST.test(host) ? 'http' : 'https'}://${endpoint}`;
}

interface UrlPart extends S3Host {
  readonly path: string;
  readonly query: URLSearchParams;
}

const EMPTY_PART: UrlPart = { bucket: '', path: '', query: new URLSearchParams() };

/** `s3://arn:…:accesspoint/NAME[/prefix]`. Spec: config 7.6. */
function readAccessPoint(url: string): UrlPart {
  const text = url.slice('s3://'.length);
  const [location = '', query = ''] = text.split('?', 2);
  const found = /^(arn:[^:/]*:s3:([^:/]+):[^:/]*:accesspoint\/[^/]+)(?:\/(.*))?$/i.exec(location);
  if (found === null) {
    throw new LitestreamError('ERR_CONFIG', `invalid s3 access point arn: ${text}`);
  }
  const [, bucket = '', region = '', prefix] = found;
  const path = prefix === undefined ? '' : cleanUrlPath(prefix).replace(/^\/|^\.$/, '');
  return { bucket, region, path, query: new URLSearchParams(query) };
}

function readUrl(url: string): UrlPart {
  if (/^s3:\/\/arn:/i.test(url)) return readAccessPoint(url);
  const parsed: ParsedUrl = parseUrl(url);
  return { ...readHost(parsed.host), path: parsed.path, query: parsed.query };
}

/** `https://` is added always to the key `endpoint`. */
function keyEndpoint(endpoint: string | undefined): string {
  if (endpoint === undefined || endpoint === '') return '';
  return /^https?:\/\//i.test(endpoint) ? endpoint : `https://${endpoint}`;
}

function awsRegion(endpoint: string): string {
  return /^https?:\/\/s3[.-]([a-z0-9-]+)\.amazonaws\.com(?:[:/]|$)/.exec(endpoint)?.[1] ?? '';
}

function pathStyle(
  keys: ReplicaKeys,
  part: UrlPart,
  fromQuery: string | undefined,
): boolean | undefined {
  const asked = queryText(part.query, 'forcePathStyle', 'force-path-style');
  const implied =
    asked === undefined ? fromQuery !== undefined || part.pathStyle === true : asked === 'true';
  if (implied || keys['force-path-style'] === true) return true;
  if (keys['force-path-style'] === undefined && (keys.endpoint ?? '') !== '') return true;
  return keys['force-path-style'] ?? (asked === undefined ? undefined : false);
}

function readSse(
  keys: ReplicaKeys,
  query: URLSearchParams,
): Pick<
  S3Location,
  'sseCustomerAlgorithm' | 'sseCustomerKey' | 'sseCustomerKeyPath' | 'sseKmsKeyId'
> {
  const either = (key: string | undefined, ...names: readonly string[]): string =>
    firstText(key, queryText(query, ...names));
  return {
    sseCustomerAlgorithm: either(
      keys['sse-customer-algorithm'],
      'sseCustomerAlgorithm',
      'sse-customer-algorithm',
    ),
    sseCustomerKey: either(keys['sse-customer-key'], 'sseCustomerKey', 'sse-customer-key'),
    sseCustomerKeyPath: keys['sse-customer-key-path'] ?? '',
    sseKmsKeyId: either(keys['sse-kms-key-id'], 'sseKmsKeyId', 'sse-kms-key-id'),
  };
}

function skipVerify(keys: ReplicaKeys, query: URLSearchParams): boolean {
  const fromUrl = queryText(query, 'skipVerify', 'skip-verify');
  return fromUrl === undefined ? (keys['skip-verify'] ?? false) : fromUrl === 'true';
}

/**
 * Resolves an `s3` replica from its keys and URL. Keys win over the URL, except where path style is implied.
 *
 * @throws LitestreamError `ERR_CONFIG`
 *
 * Spec: config 6.3 and 7.4 to 7.6.
 */
export function resolveS3(keys: ReplicaKeys): S3Location {
  const part = keys.url === undefined || keys.url === '' ? EMPTY_PART : readUrl(keys.url);
  const { query } = part;
  const bucket = firstText(keys.bucket, part.bucket);
  if (bucket === '') throw new LitestreamError('ERR_CONFIG', 'bucket required for s3 replica');
  const asked = queryText(query, 'endpoint');
  const endpoint = firstText(
    keyEndpoint(keys.endpoint),
    asked === undefined ? part.endpoint : withScheme(asked),
  );
  return {
    type: 's3',
    bucket,
    path: firstText(keys.path, part.path),
    region: firstText(keys.region, queryText(query, 'region'), part.region, awsRegion(endpoint)),
    endpoint,
    forcePathStyle: pathStyle(keys, part, asked),
    skipVerify: skipVerify(keys, query),
    signPayload: keys['sign-payload'] ?? queryBoolean(query, 'signPayload', 'sign-payload'),
    requireContentMd5:
      keys['require-content-md5'] ??
      queryBoolean(query, 'requireContentMD5', 'require-content-md5'),
    storageClass: firstText(
      keys['storage-class'],
      queryText(query, 'storageClass', 'storage-class'),
    ),
    partSizeBytes: keys['part-size'] ?? queryInteger(query, 'partSize', 'part-size'),
    concurrency: keys.concurrency ?? queryInteger(query, 'concurrency'),
    accessKeyId: firstText(keys['access-key-id']),
    secretAccessKey: firstText(keys['secret-access-key']),
    lease: keys.lease ?? queryBoolean(query, 'lease') ?? false,
    ...readSse(keys, query),
  };
}
