import { posix } from 'node:path';
import { LitestreamError } from '../lib/errors.ts';
import { redactUrl } from '../lib/redact-url.ts';

const URL_FORM = /^(\w+):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?/;
const BAD_ESCAPE = /%(?![0-9a-fA-F]{2}).{0,2}/;

/** A replica URL taken apart. Everything is decoded. */
export interface ParsedUrl {
  /** Lower case. */
  readonly scheme: string;
  /** With port, without user. */
  readonly host: string;
  readonly user: string;
  readonly password: string;
  /** Cleaned, without leading slash; `.` when the URL has no path. */
  readonly path: string;
  /** As in the URL, with leading slash. */
  readonly rawPath: string;
  readonly query: URLSearchParams;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Well-formed escapes that are not UTF-8: the bytes cannot be shown, so the text stays.
    return text;
  }
}

/** Collapses `//`, resolves `.` and `..`, drops the trailing slash; an empty path is `.`. */
export function cleanUrlPath(path: string): string {
  const clean = posix.normalize(path);
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}

/**
 * Takes a replica URL apart.
 *
 * @throws LitestreamError `ERR_CONFIG`: no scheme, or a malformed escape.
 *
 * Spec: config 7.2.
 */
export function parseUrl(url: string): ParsedUrl {
  const found = URL_FORM.exec(url);
  if (found === null) {
    throw new LitestreamError('ERR_CONFIG', `replica url scheme required: ${redactUrl(url)}`);
  }
  const [, scheme = '', authority = '', encodedPath = '', query = ''] = found;
  const escape = BAD_ESCAPE.exec(authority + encodedPath);
  if (escape !== null) {
    const shown = `"${redactUrl(url)}": invalid URL escape "${escape[0]}"`;
    throw new LitestreamError('ERR_CONFIG', `parse ${shown}`);
  }
  const at = authority.lastIndexOf('@');
  const userInfo = at < 0 ? '' : authority.slice(0, at);
  const colon = userInfo.indexOf(':');
  const rawPath = decode(encodedPath);
  return {
    scheme: scheme.toLowerCase(),
    host: decode(authority.slice(at + 1)),
    user: decode(colon < 0 ? userInfo : userInfo.slice(0, colon)),
    password: colon < 0 ? '' : decode(userInfo.slice(colon + 1)),
    path: cleanUrlPath(rawPath).replace(/^\//, ''),
    rawPath,
    query: new URLSearchParams(query),
  };
}

/** The scheme of a replica URL in lower case, or undefined if the text has none. */
export function urlScheme(url: string): string | undefined {
  return /^(\w+):\/\//.exec(url)?.[1]?.toLowerCase();
}

const TRUE_WORDS = /^(?:true|1|t|yes)$/i;

/** The first of these parameters that is given and not empty. */
export function queryText(query: URLSearchParams, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const text = query.get(name);
    if (text !== null && text !== '') return text;
  }
  return undefined;
}

/** A boolean parameter: any text that does not say yes means no. */
export function queryBoolean(
  query: URLSearchParams,
  ...names: readonly string[]
): boolean | undefined {
  const text = queryText(query, ...names);
  return text === undefined ? undefined : TRUE_WORDS.test(text);
}

/** @throws LitestreamError `ERR_CONFIG` */
export function queryInteger(
  query: URLSearchParams,
  ...names: readonly string[]
): number | undefined {
  for (const name of names) {
    const text = query.get(name);
    if (text === null || text === '') continue;
    const value = Number(text);
    if (/^\d+$/.test(text) && value > 0 && Number.isSafeInteger(value)) return value;
    throw new LitestreamError(
      'ERR_CONFIG',
      `invalid value for query parameter "${name}": "${text}" (must be a positive integer)`,
    );
  }
  return undefined;
}

/** The first text that is given and not empty; otherwise the empty text. */
export function firstText(...texts: readonly (string | undefined)[]): string {
  return texts.find((text) => text !== undefined && text !== '') ?? '';
}
