import { LitestreamError } from '../../../lib/errors.ts';
import { hostHeader, type HttpTarget } from '../../http/index.ts';
import { percentDecode } from '../../percent.ts';

/** Where a WebDAV server's collection is. */
export interface Address {
  readonly target: HttpTarget;
  /** Encoded path of the collection, without a slash at the end: '' for the root of the server. */
  readonly base: string;
  /** `http://host:port`, as the start of a URL. */
  readonly origin: string;
  /** From the URL itself; empty if it has no user. */
  readonly username: string;
  readonly password: string;
}

const FORM =
  /^(https?|webdavs?):\/\/(?:([^/?#]*)@)?(\[[^\]/?#]*\]|[^:/?#]+)(?::([0-9]*))?([^?#]*)/i;

/**
 * Takes `webdav-url` apart. The path stays as it is written, but for characters that no request may hold.
 *
 * @throws LitestreamError `ERR_STORAGE_URL`; the text holds no password.
 */
export function parseAddress(url: string): Address {
  const [, scheme = '', userInfo, host = '', portText = '', path = ''] = FORM.exec(url) ?? [];
  const port = portText === '' ? undefined : Number(portText);
  if (scheme === '' || (port !== undefined && (port < 1 || port > 65_535))) {
    throw new LitestreamError('ERR_STORAGE_URL', 'webdav-url is not a URL', {
      hint: 'write http://host:port/path or https://host/path',
    });
  }
  const protocol = /s$/i.test(scheme) ? 'https:' : 'http:';
  const target: HttpTarget = {
    protocol,
    host: host.replace(/^\[|\]$/g, ''),
    port: port ?? (protocol === 'https:' ? 443 : 80),
  };
  return {
    target,
    base: path.replace(/\/+$/, '').replace(/[^\x21-\x7e]/gu, encodeURIComponent),
    origin: `${protocol}//${hostHeader(target)}`,
    ...userOf(userInfo),
  };
}

function userOf(userInfo = ''): Pick<Address, 'username' | 'password'> {
  const colon = userInfo.indexOf(':');
  if (colon < 0) return { username: decoded(userInfo), password: '' };
  return {
    username: decoded(userInfo.slice(0, colon)),
    password: decoded(userInfo.slice(colon + 1)),
  };
}

function decoded(text: string): string {
  const result = percentDecode(text);
  return result.ok ? result.text : text;
}

/** Encodes each part of a path; slashes stay. */
export function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}
