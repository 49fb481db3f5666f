import { LitestreamError } from '../lib/errors.ts';
import { redactUrl } from '../lib/redact-url.ts';
import { quote } from '../lib/go-quote.ts';
import { cleanPath, type ReplicaType } from './layouts.ts';
import { encodeAsReference, percentDecode } from './percent.ts';

const TYPES: Readonly<Record<string, ReplicaType>> = {
  abs: 'abs',
  file: 'file',
  gs: 'gs',
  nats: 'nats',
  oss: 'oss',
  s3: 's3',
  sftp: 'sftp',
  webdav: 'webdav',
  webdavs: 'webdav',
};

/** A replica URL in its parts. Holds the password: print {@link redactUrl} of the URL instead. */
export interface ParsedReplicaUrl {
  readonly type: ReplicaType;
  /** Lower case; differs from the type for `webdavs`. */
  readonly scheme: string;
  /** With port, in the case in which it was written; an access point's whole name for `s3://arn:…`. Empty for `file`. */
  readonly host: string;
  /** Percent-decoded. */
  readonly user: string | undefined;
  /** Percent-decoded. */
  readonly password: string | undefined;
  /**
   * Percent-decoded, cleaned, without one leading slash: `.` if the URL has no path, '' if it is `/`. For `file` a path of the
   * file system; '' if there is none.
   */
  readonly path: string;
  /** Percent-decoded and otherwise as it was written, with its leading slash. */
  readonly rawPath: string;
  /** `file` only, otherwise equal to `path`: the spelling that Litestream uses, which is percent-encoded. */
  readonly encodedPath: string;
  /** Percent-decoded, `+` is a blank; the first value of a repeated key. */
  readonly query: ReadonlyMap<string, string>;
}

/** True if the text is meant as a URL and not as a path. Spec: backends 3.1. */
export function isUrl(text: string): boolean {
  return /^[A-Za-z0-9_]+:\/\//.test(text);
}

function urlError(url: string, reason: string): LitestreamError {
  return new LitestreamError('ERR_STORAGE_URL', `parse ${quote(redactUrl(url))}: ${reason}`);
}

/**
 * Splits a replica URL. Spec: config 7, backends 3.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` with the reference's texts; user names and passwords are left out of them.
 */
export function parseReplicaUrl(url: string): ParsedReplicaUrl {
  const found = /^([A-Za-z][A-Za-z0-9+.-]*):([^]*)$/.exec(url);
  const [, scheme = '', rest = ''] = found ?? [];
  if (url.startsWith(':')) throw urlError(url, 'missing protocol scheme');
  if (found === null) {
    const message = `replica url scheme required: ${redactUrl(url)}`;
    throw new LitestreamError('ERR_STORAGE_URL', message);
  }
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\x00-\x1f\x7f]/.test(url)) throw urlError(url, 'net/url: invalid control character in URL');
  const lower = scheme.toLowerCase();
  const type = Object.hasOwn(TYPES, lower) ? TYPES[lower] : undefined;
  if (type === undefined) {
    const message = `unsupported replica URL scheme: ${quote(lower)}`;
    const hint = `known schemes: ${Object.keys(TYPES).join(', ')}`;
    throw new LitestreamError('ERR_STORAGE_URL', message, { hint, details: { scheme: lower } });
  }
  if (type === 'file') return parseFileUrl(url, rest);
  if (type === 's3' && /^\/\/arn:/i.test(rest)) return parseAccessPoint(rest.slice(2));
  return parseAuthorityUrl(url, { type, scheme: lower, rest });
}

function cut(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

function decode(url: string, text: string): string {
  const decoded = percentDecode(text);
  if (!decoded.ok) throw urlError(url, decoded.reason);
  return decoded.text;
}

/** A bad pair and one with a semicolon are dropped. */
function parseQuery(text: string): Map<string, string> {
  const query = new Map<string, string>();
  for (const pair of text.split('&')) {
    if (pair === '' || pair.includes(';')) continue;
    const [key, value = ''] = cut(pair.replaceAll('+', ' '), '=');
    const decodedKey = percentDecode(key);
    const decodedValue = percentDecode(value);
    if (!decodedKey.ok || !decodedValue.ok || query.has(decodedKey.text)) continue;
    query.set(decodedKey.text, decodedValue.text);
  }
  return query;
}

/** Everything behind `file:` but the query is the path, host and fragment too. */
function parseFileUrl(url: string, rest: string): ParsedReplicaUrl {
  const [beforeFragment, fragment] = cut(rest, '#');
  const [raw, query = ''] = cut(beforeFragment, '?');
  const tail = fragment === undefined ? '' : `#${decode(url, fragment)}`;
  const encodedTail = fragment === undefined ? '' : `#${encodeAsReference(fragment)}`;
  const named = raw !== '' && raw !== '//';
  const rawPath = decode(url, raw) + tail;
  return {
    type: 'file',
    scheme: 'file',
    host: '',
    user: undefined,
    password: undefined,
    path: named ? cleanPath(rawPath) : '',
    rawPath,
    encodedPath: named ? cleanPath(encodeAsReference(raw) + encodedTail) : '',
    query: parseQuery(query),
  };
}

/** `arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME[/PATH][?QUERY]`. */
function parseAccessPoint(text: string): ParsedReplicaUrl {
  const [name, query = ''] = cut(text, '?');
  const found = /^(arn:[^/]*:accesspoint\/([^/]+))(\/[^]*)?$/i.exec(name);
  const [, host, , rawPath = ''] = found ?? [];
  if (host === undefined) {
    throw new LitestreamError('ERR_STORAGE_URL', `invalid s3 access point arn: ${name}`);
  }
  const clean = cleanPath(`/${rawPath}`).slice(1);
  const parts = { user: undefined, password: undefined, path: clean, rawPath, encodedPath: clean };
  return { type: 's3', scheme: 's3', host, ...parts, query: parseQuery(query) };
}

interface Authority {
  readonly host: string;
  readonly user: string | undefined;
  readonly password: string | undefined;
}

function parseAuthority(url: string, text: string): Authority {
  const at = text.lastIndexOf('@');
  const encodedHost = text.slice(at + 1);
  const host = decode(url, encodedHost);
  const blank = /[ <>"\\^`{|}]/.exec(host)?.[0];
  if (blank !== undefined) throw urlError(url, `invalid character ${quote(blank)} in host name`);
  const port = /^(?:\[[^\]]*\]|[^:]*)(:[^]*)?$/.exec(host)?.[1];
  const portText = port ?? (host.includes(':') ? host.slice(host.lastIndexOf(':')) : ':');
  if (!/^:[0-9]*$/.test(portText)) {
    throw urlError(url, `invalid port ${quote(portText)} after host`);
  }
  if (at < 0) return { host, user: undefined, password: undefined };
  const [user, password] = cut(text.slice(0, at), ':');
  return {
    host,
    user: decode(url, user),
    password: password === undefined ? undefined : decode(url, password),
  };
}

function parseAuthorityUrl(
  url: string,
  { type, scheme, rest }: { type: ReplicaType; scheme: string; rest: string },
): ParsedReplicaUrl {
  const [beforeQuery, query = ''] = cut(cut(rest, '#')[0], '?');
  const rooted = beforeQuery.startsWith('//') ? beforeQuery.slice(2) : undefined;
  const slash = rooted === undefined ? -1 : rooted.indexOf('/');
  const authority = rooted?.slice(0, slash < 0 ? undefined : slash) ?? '';
  // `s3:bucket` has neither host nor path.
  const encoded =
    rooted === undefined
      ? beforeQuery.startsWith('/')
        ? beforeQuery
        : ''
      : slash < 0
        ? ''
        : rooted.slice(slash);
  const rawPath = decode(url, encoded);
  const path = cleanPath(rawPath).replace(/^\//, '');
  const { host, user, password } = parseAuthority(url, authority);
  const location = { host, user, password, path, rawPath, encodedPath: path };
  return { type, scheme, ...location, query: parseQuery(query) };
}

const BUCKETS: ReadonlySet<ReplicaType> = new Set(['abs', 'gs', 'oss', 's3']);

/**
 * Refuses a URL that lacks what its type needs, for callers that have nothing but the URL.
 *
 * @throws LitestreamError `ERR_STORAGE_URL`: `bucket required for gs replica URL`, `host required …`, `user required …`.
 */
export function requireComplete(url: ParsedReplicaUrl): void {
  const { type, host, user, path } = url;
  const lacks = (what: string): LitestreamError =>
    new LitestreamError('ERR_STORAGE_URL', `${what} required for ${type} replica URL`);
  if (type === 'file' && path === '') {
    throw new LitestreamError('ERR_STORAGE_URL', 'file replica path required');
  }
  if (BUCKETS.has(type) && host === '') throw lacks('bucket');
  if ((type === 'sftp' || type === 'webdav') && host === '') throw lacks('host');
  if (type === 'sftp' && (user === undefined || user === '')) throw lacks('user');
  if (type === 'nats' && (path === '' || path === '.')) throw lacks('bucket');
}
