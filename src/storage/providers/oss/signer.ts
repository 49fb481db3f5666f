import { createHash, createHmac } from 'node:crypto';
import { formatRfc3339 } from '../../../lib/time-text.ts';

/** A key pair, and the token that belongs to a temporary one. All but the id are secrets. */
export interface OssKeys {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  /** Empty for keys that do not end. */
  readonly securityToken: string;
}

export interface SigningScope {
  readonly bucket: string;
  readonly region: string;
}

/** A request before it is signed. */
export interface UnsignedRequest {
  readonly method: string;
  /** Object, or '' for the bucket. Not encoded. */
  readonly key: string;
  /** Not encoded. A parameter without value is ''. */
  readonly query: Readonly<Record<string, string>>;
  /** Lower-case names. `content-type`, `content-md5` and every `x-oss-` header are signed. */
  readonly headers: Readonly<Record<string, string>>;
}

const UNSIGNED = 'UNSIGNED-PAYLOAD';
const ALGORITHM = 'OSS4-HMAC-SHA256';

/** Percent-encodes every byte but letters, digits and `-_.~`. */
export function encodeText(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** An object's name as it stands in a path: slashes stay, and nothing is cleaned. */
export function encodeKey(key: string): string {
  return encodeText(key).replaceAll('%2F', '/');
}

/** A query in the order and form that is signed and sent. */
export function encodeQuery(query: Readonly<Record<string, string>>): string {
  return Object.entries(query)
    .map(([name, value]) => [encodeText(name), encodeText(value)] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => (value === '' ? name : `${name}=${value}`))
    .join('&');
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** The signed resource names the bucket, also where the host does. */
function canonicalRequest(
  { method, key, query, headers }: UnsignedRequest,
  bucket: string,
): string {
  const signed = Object.keys(headers)
    .filter((name) => name.startsWith('x-oss-') || /^content-(?:type|md5)$/.test(name))
    .toSorted()
    .map((name) => `${name}:${(headers[name] ?? '').trim()}\n`);
  const resource = `/${encodeText(bucket)}/${encodeKey(key)}`;
  // The empty line: no additional headers.
  return [method, resource, encodeQuery(query), signed.join(''), '', UNSIGNED].join('\n');
}

/**
 * Headers of a request with version 4 of the OSS signature. Spec: backends 5.7.
 *
 * @param now - milliseconds since the Unix epoch.
 */
export function signedHeaders(
  request: UnsignedRequest,
  keys: OssKeys,
  { bucket, region }: SigningScope,
  now: number,
): Record<string, string> {
  const date = formatRfc3339(now).replace(/\.\d+|[-:]/g, '');
  const headers: Record<string, string> = {
    ...request.headers,
    'x-oss-content-sha256': UNSIGNED,
    'x-oss-date': date,
    ...(keys.securityToken !== '' && { 'x-oss-security-token': keys.securityToken }),
  };
  const day = date.slice(0, 8);
  const scope = `${day}/${region}/oss/aliyun_v4_request`;
  const canonical = canonicalRequest({ ...request, headers }, bucket);
  const digest = createHash('sha256').update(canonical).digest('hex');
  const dayKey = hmac(`aliyun_v4${keys.accessKeySecret}`, day);
  const key = hmac(hmac(hmac(dayKey, region), 'oss'), 'aliyun_v4_request');
  const signature = hmac(key, [ALGORITHM, date, scope, digest].join('\n')).toString('hex');
  const credential = `${keys.accessKeyId}/${scope}`;
  headers['authorization'] = `${ALGORITHM} Credential=${credential},Signature=${signature}`;
  return headers;
}
