import { isIP } from 'node:net';
import { LitestreamError } from '../../../lib/errors.ts';
import type { HttpTarget } from '../../http/index.ts';

/** Where requests of one bucket go, byte for byte. Paths are encoded. */
export interface S3Address {
  readonly target: HttpTarget;
  /** Of requests that concern the bucket itself. */
  readonly bucketPath: string;
  objectPath(key: string): string;
}

export interface AddressOptions {
  readonly bucket: string;
  /** Empty = AWS. */
  readonly endpoint: string;
  readonly region: string;
  /** Undefined: by the rules of the endpoint. */
  readonly pathStyle: boolean | undefined;
}

/** Percent-encodes every byte but the unreserved characters of a URL, once. */
export function encodeText(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** A key as it stands in a path: slashes stay, and nothing is cleaned. */
export function encodeKey(key: string): string {
  return encodeText(key).replaceAll('%2F', '/');
}

/** A query in the form that is signed: encoded, sorted, every name with a `=`. */
export function encodeQuery(query: Readonly<Record<string, string>>): string {
  return Object.entries(query)
    .map(([name, value]) => `${encodeText(name)}=${encodeText(value)}`)
    .toSorted()
    .join('&');
}

const ACCESS_POINT =
  /^arn:(?<partition>[^:]*):s3:(?<region>[^:]*):(?<account>[^:]*):accesspoint\/(?<name>[^/]+)$/i;

/** The region of an access point's ARN; undefined for an ordinary bucket. */
export function accessPointRegion(bucket: string): string | undefined {
  return ACCESS_POINT.exec(bucket)?.groups?.['region'];
}

const DOMAINS: readonly (readonly [string, string])[] = [
  ['cn-', 'amazonaws.com.cn'],
  ['eusc-', 'amazonaws.eu'],
  ['us-iso-', 'c2s.ic.gov'],
  ['us-isob-', 'sc2s.sgov.gov'],
];

function awsDomain(region: string): string {
  return DOMAINS.find(([prefix]) => region.startsWith(prefix))?.[1] ?? 'amazonaws.com';
}

/** Names that can stand before a host of a wildcard certificate. */
function isHostLabel(bucket: string): boolean {
  return /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket);
}

interface Endpoint {
  readonly target: HttpTarget;
  /** Encoded, without a slash at the end. */
  readonly path: string;
}

/** @throws LitestreamError `ERR_CONFIG` */
function parseEndpoint(endpoint: string): Endpoint {
  const url = URL.parse(endpoint);
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    // Not shown as it is: it may hold a password.
    const shown = endpoint.replace(/\/\/[^/@]*@/, '//');
    throw new LitestreamError('ERR_CONFIG', `s3: invalid endpoint "${shown}"`, {
      hint: 'an endpoint is http:// or https://, a host, and a port if it is not the usual one',
    });
  }
  const protocol = url.protocol === 'http:' ? 'http:' : 'https:';
  const port = url.port === '' ? (protocol === 'https:' ? 443 : 80) : Number(url.port);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { target: { protocol, host, port }, path: url.pathname.replace(/\/+$/, '') };
}

function byPath({ target, path }: Endpoint, bucket: string): S3Address {
  const base = `${path}/${encodeText(bucket)}`;
  return { target, bucketPath: base, objectPath: (key) => `${base}/${encodeKey(key)}` };
}

function byHost({ target, path }: Endpoint, label: string): S3Address {
  return {
    target: { ...target, host: `${label}.${target.host}` },
    bucketPath: `${path}/`,
    objectPath: (key) => `${path}/${encodeKey(key)}`,
  };
}

function accessPoint({ bucket, endpoint, region, pathStyle }: AddressOptions): S3Address {
  const { name = '', account = '' } = ACCESS_POINT.exec(bucket)?.groups ?? {};
  if (pathStyle === true) {
    const text = 's3: Path-style addressing cannot be used with ARN buckets';
    throw new LitestreamError('ERR_CONFIG', text, { details: { bucket } });
  }
  if (region === '') {
    const text = 's3: multi-region access points are not supported';
    throw new LitestreamError('ERR_CONFIG', text, {
      details: { bucket },
      hint: 'name the bucket, or an access point of one region',
    });
  }
  const label = `${name}-${account}`;
  const base = endpoint === '' ? `https://s3-accesspoint.${region}.${awsDomain(region)}` : endpoint;
  return byHost(parseEndpoint(base), label);
}

/**
 * Where the requests of a bucket go. Spec: backends 5.2.2.
 *
 * @throws LitestreamError `ERR_CONFIG` for an endpoint that is no URL, and for path style with an access point.
 */
export function addressOf(options: AddressOptions): S3Address {
  const { bucket, endpoint, region, pathStyle } = options;
  if (ACCESS_POINT.test(bucket)) return accessPoint(options);
  if (endpoint === '') {
    const aws = parseEndpoint(`https://s3.${region}.${awsDomain(region)}`);
    return pathStyle === true || !isHostLabel(bucket) ? byPath(aws, bucket) : byHost(aws, bucket);
  }
  const parsed = parseEndpoint(endpoint);
  const { protocol, host } = parsed.target;
  // An address has no names below it, and a certificate's wildcard covers one label.
  const hostable = isIP(host) === 0 && (protocol === 'http:' || isHostLabel(bucket));
  return pathStyle === true || !hostable ? byPath(parsed, bucket) : byHost(parsed, bucket);
}
