import { isIP } from 'node:net';
import { LitestreamError } from '../../../lib/errors.ts';
import type { HttpTarget } from '../../http/index.ts';
import type { OssLocation } from '../../locations.ts';
import { encodeKey, encodeText } from './signer.ts';

const REGION = 'cn-hangzhou';

/** Where the requests of one bucket go. */
export interface OssAddress {
  readonly target: HttpTarget;
  /** For the signature. */
  readonly region: string;
  /** Encoded path of an object, or of the bucket itself ('' as key). */
  readonly path: (key: string) => string;
}

/** A host of the service itself: `[bucket.]oss-REGION[-internal].aliyuncs.com`. */
const SERVICE_HOST = /(?:^|\.)oss-([a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com$/;

/** Names of the service that stand for all regions. */
const NO_REGION = /^(?:accelerate|accelerate-overseas)$/;

function regionOf(host: string): string {
  const region = SERVICE_HOST.exec(host)?.[1] ?? '';
  return NO_REGION.test(region) ? '' : region;
}

function badEndpoint(endpoint: string): LitestreamError {
  // Not shown as it is: it may hold a password.
  const shown = endpoint.replace(/\/\/[^/@]*@/, '//');
  return new LitestreamError('ERR_CONFIG', `oss: invalid endpoint "${shown}"`, {
    hint: 'an endpoint is a host such as oss-cn-hangzhou-internal.aliyuncs.com, or an http:// or https:// address',
  });
}

function parseEndpoint(endpoint: string): HttpTarget {
  const text = /^[a-z]+:\/\//i.test(endpoint) ? endpoint : `https://${endpoint}`;
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw badEndpoint(endpoint);
  }
  if (url.pathname !== '/' || url.search !== '') throw badEndpoint(endpoint);
  const protocol = url.protocol === 'http:' ? 'http:' : 'https:';
  const port = url.port === '' ? (protocol === 'https:' ? 443 : 80) : Number(url.port);
  return { protocol, host: url.hostname.replace(/^\[|\]$/g, ''), port };
}

/** Where no name can be put in front of the host. */
function needsPath(host: string): boolean {
  return isIP(host) !== 0 || host === 'localhost';
}

/**
 * The bucket is named by the host, or by the path where the endpoint is an address or `localhost`. Spec: backends 5.7.
 *
 * @throws LitestreamError `ERR_CONFIG` for an endpoint that is none.
 */
export function ossAddress({
  bucket,
  region,
  endpoint,
}: Pick<OssLocation, 'bucket' | 'region' | 'endpoint'>): OssAddress {
  const given = endpoint === '' ? undefined : parseEndpoint(endpoint);
  const known = region || regionOf(given?.host ?? '') || REGION;
  const base = given ?? parseEndpoint(`oss-${known}.aliyuncs.com`);
  if (needsPath(base.host)) {
    const root = `/${encodeText(bucket)}/`;
    return { target: base, region: known, path: (key) => root + encodeKey(key) };
  }
  const named = base.host.startsWith(`${bucket}.`);
  const target = named ? base : { ...base, host: `${bucket}.${base.host}` };
  return { target, region: known, path: (key) => `/${encodeKey(key)}` };
}
