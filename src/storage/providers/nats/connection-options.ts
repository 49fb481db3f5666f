import type { Authenticator, NodeConnectionOptions } from '@nats-io/transport-node';
import type * as Transport from '@nats-io/transport-node';
import { LitestreamError, wrapError } from '../../../lib/errors.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import type { NatsLocation } from '../../locations.ts';

const PING_INTERVAL_MS = 120_000;
const PINGS_OUT_MAX = 2;
/** Certificates and credentials are a few thousand bytes. */
const FILE_BYTES_MAX = 1024 * 1024;

async function readText(fileSystem: FileSystem, what: string, path: string): Promise<string> {
  try {
    const file = await fileSystem.open('nats:open', path, 'read');
    try {
      const { size } = await file.stat('nats:stat');
      const bytes = new Uint8Array(Math.min(size, FILE_BYTES_MAX));
      const count = await file.read('nats:read', bytes, 0);
      return new TextDecoder().decode(bytes.subarray(0, count));
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code, message, details } = wrapError(`nats: cannot read ${what}`, error);
    throw new LitestreamError(code === 'ERR_IO' ? 'ERR_STORAGE' : code, message, {
      cause: error,
      details: { ...details, path },
    });
  }
}

/** A seed signs the server's challenge; it begins with S and never leaves this process. */
function isSeed(text: string): boolean {
  return /^S[A-Z2-7]{50,}$/.test(text);
}

/** The first complete method in the reference's order; undefined for none. Spec: backends 5.6. */
async function authenticator(
  location: NatsLocation,
  { sdk, fileSystem }: OptionPorts,
): Promise<Authenticator | undefined> {
  const { jwt, seed, creds, nkey, username, password, token } = location;
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  if (jwt !== '' && seed !== '') return sdk.jwtAuthenticator(jwt, encode(seed));
  if (creds !== '') {
    // Read anew for each connection: such files are replaced before they expire.
    return sdk.credsAuthenticator(encode(await readText(fileSystem, 'credentials', creds)));
  }
  if (nkey !== '') {
    const signer = isSeed(nkey) ? nkey : seed;
    if (!isSeed(signer)) {
      throw new LitestreamError(
        'ERR_STORAGE_URL',
        'nats: nkey defined without a signature handler',
        {
          hint: 'set nkey to the seed (SU…), or set seed beside the public nkey',
        },
      );
    }
    return sdk.nkeyAuthenticator(encode(signer));
  }
  if (username !== '' && password !== '') {
    return sdk.usernamePasswordAuthenticator(username, password);
  }
  return token === '' ? undefined : sdk.tokenAuthenticator(token);
}

async function tlsOptions(
  { tls, rootCas, clientCert, clientKey }: NatsLocation,
  { fileSystem }: OptionPorts,
): Promise<Pick<NodeConnectionOptions, 'tls'>> {
  if (!tls) return {};
  const read = (what: string, path: string): Promise<string> => readText(fileSystem, what, path);
  const roots: string[] = [];
  for (const path of rootCas) roots.push(await read('root CA', path));
  return {
    tls: {
      ...(roots.length > 0 && { ca: roots.join('\n') }),
      ...(clientCert !== '' && {
        cert: await read('client certificate', clientCert),
        key: await read('client key', clientKey),
      }),
    },
  };
}

export interface OptionPorts {
  readonly sdk: typeof Transport;
  readonly fileSystem: FileSystem;
}

/** Everything that a connection needs, the files read. The reference's settings, not the library's defaults. */
export async function connectionOptions(
  location: NatsLocation,
  ports: OptionPorts,
): Promise<NodeConnectionOptions> {
  const auth = await authenticator(location, ports);
  return {
    servers: location.url,
    name: 'litestream',
    timeout: location.timeoutMs,
    maxReconnectAttempts: location.maxReconnects,
    reconnectTimeWait: location.reconnectWaitMs,
    reconnectJitter: 0,
    reconnectJitterTLS: 0,
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: PINGS_OUT_MAX,
    ...(auth !== undefined && { authenticator: auth }),
    ...(await tlsOptions(location, ports)),
  };
}
