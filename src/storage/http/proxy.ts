import { BlockList, isIP } from 'node:net';
import { LitestreamError } from '../../lib/errors.ts';
import type { HttpTarget } from './types.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface Proxy {
  readonly target: HttpTarget;
  /** Value of `Proxy-Authorization`, if the proxy's URL has a user. Secret. */
  readonly authorization: string | undefined;
}

/** Like Go's rules: upper case wins over lower case, loopback is never sent through a proxy. */
export function proxyFor(target: HttpTarget, environment: Environment): Proxy | undefined {
  const name = target.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const text = variable(environment, name);
  if (text === '' || isLoopback(target.host)) return undefined;
  if (bypasses(target, variable(environment, 'NO_PROXY'))) return undefined;
  return parseProxy(text, name);
}

function variable(environment: Environment, name: string): string {
  return (environment[name] || environment[name.toLowerCase()] || '').trim();
}

function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true;
  return host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function parseProxy(text: string, name: string): Proxy {
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  if (url === null || url.hostname === '') {
    throw new LitestreamError('ERR_CONFIG', `${name} is not a URL`, { details: { name } });
  }
  const { protocol } = url;
  if (protocol !== 'http:' && protocol !== 'https:') {
    const message = `${name}: proxies of the kind "${protocol.slice(0, -1)}" are not supported`;
    throw new LitestreamError('ERR_CONFIG', message, { hint: 'use an http:// proxy' });
  }
  const port = Number(url.port) || (protocol === 'https:' ? 443 : 80);
  const user = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return {
    target: { protocol, host: url.hostname.replace(/^\[|\]$/g, ''), port },
    authorization:
      url.username === '' ? undefined : `Basic ${Buffer.from(user).toString('base64')}`,
  };
}

/** Entries: `*`, addresses, networks, `example.com` (with subdomains), `.example.com` (subdomains only), each with `:port`. */
function bypasses({ host, port }: HttpTarget, list: string): boolean {
  return list
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== '' && matches(host.toLowerCase().replace(/\.$/, ''), port, entry));
}

function matches(host: string, port: number, entry: string): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return inNetwork(host, entry);
  const bare = entry.replace(/^\[|\]$/g, '');
  if (isIP(bare) !== 0) return host === bare;
  const found = /^\[?(.*?)\]?(?::([0-9]+))?$/.exec(entry);
  const [, name = '', wantedPort] = found ?? [];
  if (wantedPort !== undefined && Number(wantedPort) !== port) return false;
  const domain = name.replace(/^\*/, '');
  if (domain.startsWith('.')) return host.endsWith(domain);
  return host === domain || host.endsWith(`.${domain}`);
}

function inNetwork(host: string, entry: string): boolean {
  const [network = '', bits = ''] = entry.split('/');
  const family = isIP(network);
  if (family === 0 || isIP(host) !== family || !/^[0-9]{1,3}$/.test(bits)) return false;
  if (Number(bits) > (family === 4 ? 32 : 128)) return false;
  const kind = family === 4 ? 'ipv4' : 'ipv6';
  const networks = new BlockList();
  networks.addSubnet(network, Number(bits), kind);
  return networks.check(host, kind);
}
