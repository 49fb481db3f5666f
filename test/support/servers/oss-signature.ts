/** Version 4 of the signature of OSS, by the published rules. */
import { createHash, createHmac } from 'node:crypto';

/** A request as it came over the wire. */
export interface WireRequest {
  readonly method: string;
  /** Encoded as it was sent, with the bucket. */
  readonly resource: string;
  readonly rawQuery: string;
  readonly headers: Readonly<Record<string, string>>;
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** What the signature of a request has to be. */
export function signatureOf(
  { method, resource, rawQuery, headers }: WireRequest,
  { date, scope, secret }: { date: string; scope: string; secret: string },
): string {
  const query = pairsOf(rawQuery)
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .toSorted((a, b) => Buffer.compare(Buffer.from(a[0]), Buffer.from(b[0])))
    .map(([name, value]) => (value === '' ? name : `${name}=${value}`));
  let signed = '';
  for (const name of Object.keys(headers).toSorted()) {
    const counts = name === 'content-type' || name === 'content-md5' || name.startsWith('x-oss-');
    if (counts) signed += `${name}:${(headers[name] ?? '').trim()}\n`;
  }
  const payload = headers['x-oss-content-sha256'] ?? '';
  const canonical = [method, resource, query.join('&'), signed, '', payload].join('\n');
  const digest = createHash('sha256').update(canonical).digest('hex');
  const [day = '', region = '', product = '', last = ''] = scope.split('/');
  let key = hmac(`aliyun_v4${secret}`, day);
  for (const part of [region, product, last]) key = hmac(key, part);
  return hmac(key, ['OSS4-HMAC-SHA256', date, scope, digest].join('\n')).toString('hex');
}

/** Decoded names and values of a query. */
export function pairsOf(rawQuery: string): [string, string][] {
  return rawQuery
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const [name = '', value = ''] = pair.split('=', 2);
      return [decodeURIComponent(name), decodeURIComponent(value)];
    });
}

function encode(text: string): string {
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const character = String.fromCharCode(byte);
    encoded += /[A-Za-z0-9._~-]/.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** Milliseconds since the Unix epoch, NaN for anything else than such a date. */
export function parseDate(text: string): number {
  const found = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (found === null) return Number.NaN;
  const [, year, month, day, hour, minute, second] = found.map(Number);
  return Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second);
}
