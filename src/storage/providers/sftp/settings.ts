import { isIPv6 } from 'node:net';
import { LitestreamError } from '../../../lib/errors.ts';
import type { SftpLocation } from '../../locations.ts';
import { parseHostKeys, type PinnedKey } from './host-key.ts';

const DEFAULT_PORT = 22;

/** Where to log in, and as whom. */
export interface SftpSettings {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Empty = none. */
  readonly password: string;
  /** File of a private key; empty = none. */
  readonly keyPath: string;
  readonly keyPassphrase: string;
  /** Socket of an ssh-agent; undefined = none is asked. */
  readonly agentSocket: string | undefined;
  /** Keys the server may have; empty = any. */
  readonly hostKeys: readonly PinnedKey[];
}

/**
 * Settings for a connection. The agent of the environment (`SSH_AUTH_SOCK`) is asked only if there is neither password nor key.
 *
 * @throws LitestreamError `ERR_CONFIG` for a `host-key` or a port that cannot be read.
 */
export function sftpSettings(
  location: SftpLocation,
  environment: Readonly<Record<string, string | undefined>>,
): SftpSettings {
  const { user, password, keyPath, keyPassphrase, hostKey } = location;
  const agent = environment['SSH_AUTH_SOCK'] ?? '';
  const agentSocket = password === '' && keyPath === '' && agent !== '' ? agent : undefined;
  const hostKeys = parseHostKeys(hostKey);
  const server = splitHost(location.host);
  return { ...server, user, password, keyPath, keyPassphrase, agentSocket, hostKeys };
}

/** `host`, `host:port`, `[::1]:port` or a bare IPv6 address. */
function splitHost(text: string): { host: string; port: number } {
  const found = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text);
  if (found === null) {
    if (isIPv6(text)) return { host: text, port: DEFAULT_PORT };
    throw badHost(text);
  }
  const [, bracketed, plain = '', digits] = found;
  const port = digits === undefined ? DEFAULT_PORT : Number(digits);
  if (port < 1 || port > 65_535) throw badHost(text);
  return { host: bracketed ?? plain, port };
}

function badHost(text: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', `invalid sftp host "${text}"`, {
    hint: 'give a name or an address, with a port behind a colon if it is not 22',
  });
}

/** `host:port`, for messages. */
export function hostOf({ host, port }: SftpSettings): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
