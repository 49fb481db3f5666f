import { osErrorCode, osErrorText } from './os-error.ts';
import { errorMessage, LitestreamError } from './errors.ts';

/** Where to listen. */
export interface ListenAddress {
  /** Name or address without brackets; empty = all interfaces. */
  readonly host: string;
  /** As written: a number, or anything that is found wrong when it is used. */
  readonly port: string;
}

const PORT_MAX = 65_535;

/**
 * Splits `host:port`, `:port` or `[v6]:port`. Undefined without a port. Only that it is there is checked. Spec: interfaces 3.
 */
export function parseListenAddress(address: string): ListenAddress | undefined {
  const bracketed = /^\[([^\]]*)\]:([^:]+)$/.exec(address);
  const plain = /^([^:[\]]*):([^:[\]]+)$/.exec(address);
  const [, host, port] = bracketed ?? plain ?? [];
  return host === undefined || port === undefined ? undefined : { host, port };
}

/** The address as it stands in a URL, `localhost` for all interfaces. */
export function urlAuthority({ host }: ListenAddress, port: number | string): string {
  if (host === '') return `localhost:${port}`;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The port as a number. @throws LitestreamError `ERR_CONFIG` in the words of {@link listenError} */
export function listenPort({ port }: ListenAddress): number {
  const number = /^\d+$/.test(port) ? Number(port) : -1;
  if (number >= 0 && number <= PORT_MAX) return number;
  const text = number < 0 ? `lookup tcp/${port}: unknown port` : `address ${port}: invalid port`;
  throw new LitestreamError('ERR_CONFIG', `listen tcp: ${text}`);
}

/** `listen tcp <address>: bind: address already in use`, the reference's form. */
export function listenError(address: string, error: unknown): LitestreamError {
  if (error instanceof LitestreamError) return error;
  const errno = osErrorCode(error);
  const details = { address, ...(errno === undefined ? {} : { errno }) };
  if (errno === 'ENOTFOUND' || errno === 'EAI_AGAIN') {
    const host = parseListenAddress(address)?.host ?? address;
    const text = `listen tcp: lookup ${host}: no such host`;
    return new LitestreamError('ERR_IO', text, { cause: error, details });
  }
  const cause = errno === undefined ? errorMessage(error) : `bind: ${osErrorText(errno)}`;
  return new LitestreamError('ERR_IO', `listen tcp ${address}: ${cause}`, {
    cause: error,
    details,
    ...(errno === 'EADDRINUSE' ? { hint: 'choose a free port, or stop who listens there' } : {}),
  });
}
