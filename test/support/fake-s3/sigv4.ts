import { createHash, createHmac } from 'node:crypto';

/** A request as it came over the wire. */
export interface SignedRequest {
  readonly method: string;
  /** Before the `?`, byte for byte. */
  readonly path: string;
  /** Behind the `?`, byte for byte. */
  readonly query: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface Secrets {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** What an Authorization header says. */
export interface Authorization {
  readonly accessKeyId: string;
  readonly date: string;
  readonly region: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
}

const FORM =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]*)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

export function readAuthorization(headers: SignedRequest['headers']): Authorization | undefined {
  const found = FORM.exec(headers['authorization'] ?? '');
  if (found === null) return undefined;
  const [, accessKeyId = '', date = '', region = '', names = '', signature = ''] = found;
  return { accessKeyId, date, region, signedHeaders: names.split(';'), signature };
}

function encode(text: string): string {
  return [...new TextEncoder().encode(text)]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9\-._~]/.test(character)
        ? character
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

function canonicalQuery(query: string): string {
  if (query === '') return '';
  return query
    .split('&')
    .map((pair) => {
      const [name = '', ...rest] = pair.split('=');
      return `${encode(decodeURIComponent(name))}=${encode(decodeURIComponent(rest.join('=')))}`;
    })
    .toSorted()
    .join('&');
}

function hmac(key: string | Uint8Array, text: string): Uint8Array {
  return createHmac('sha256', key).update(text).digest();
}

/** The signature that the request should have, from the published rules of version 4. */
function expectedSignature(
  request: SignedRequest,
  { date, region, signedHeaders }: Authorization,
  secret: string,
): string {
  const headers = signedHeaders
    .map((name) => `${name}:${(request.headers[name] ?? '').trim().replace(/ +/g, ' ')}\n`)
    .join('');
  const canonical = [
    request.method,
    request.path,
    canonicalQuery(request.query),
    headers,
    signedHeaders.join(';'),
    request.headers['x-amz-content-sha256'] ?? '',
  ].join('\n');
  const scope = `${date}/${region}/s3/aws4_request`;
  const text = [
    'AWS4-HMAC-SHA256',
    request.headers['x-amz-date'] ?? '',
    scope,
    createHash('sha256').update(canonical).digest('hex'),
  ].join('\n');
  let key: Uint8Array = hmac(`AWS4${secret}`, date);
  for (const part of [region, 's3', 'aws4_request']) key = hmac(key, part);
  return createHmac('sha256', key).update(text).digest('hex');
}

/** Why the request has to be refused: an error code of S3; undefined if it is good. */
export function whyRefused(
  request: SignedRequest,
  secrets: Secrets,
  { now, region }: { readonly now: number; readonly region?: string | undefined },
): string | undefined {
  const authorization = readAuthorization(request.headers);
  if (authorization === undefined) return 'AccessDenied';
  if (authorization.accessKeyId !== secrets.accessKeyId) return 'InvalidAccessKeyId';
  const token = request.headers['x-amz-security-token'];
  if (token !== secrets.sessionToken) return 'InvalidToken';
  if (region !== undefined && authorization.region !== region)
    return 'AuthorizationHeaderMalformed';
  const { signedHeaders } = authorization;
  const needed = Object.keys(request.headers).filter((name) => /^(?:host$|x-amz-)/.test(name));
  if (needed.some((name) => !signedHeaders.includes(name))) return 'AccessDenied';
  const stamp = request.headers['x-amz-date'] ?? '';
  const iso = stamp.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5');
  if (!(Math.abs(Date.parse(iso) - now) < 15 * 60_000)) return 'RequestTimeTooSkewed';
  if (!stamp.startsWith(authorization.date)) return 'AuthorizationHeaderMalformed';
  const payload = request.headers['x-amz-content-sha256'] ?? '';
  if (payload !== 'UNSIGNED-PAYLOAD') {
    if (payload !== createHash('sha256').update(request.body).digest('hex')) {
      return 'XAmzContentSHA256Mismatch';
    }
  }
  const expected = expectedSignature(request, authorization, secrets.secretAccessKey);
  return expected === authorization.signature ? undefined : 'SignatureDoesNotMatch';
}
