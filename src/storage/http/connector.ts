import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from 'node:net';
import * as tls from 'node:tls';
import type { Clock } from '../../lib/clock.ts';
import { errorMessage, LitestreamError } from '../../lib/errors.ts';
import { connectionError, silenceError } from './errors.ts';
import { type Proxy, proxyFor } from './proxy.ts';
import { hostAndPort, type HttpClientOptions, type HttpTarget } from './types.ts';

const KEEP_ALIVE_MS = 30_000;
const CONNECT_TIMEOUT_MS = 30_000;

/** Opens connections: TCP, TLS, and tunnels through proxies. */
export class Connector {
  readonly #clock: Clock;
  readonly #options: HttpClientOptions;
  readonly #timeoutMs: number;
  readonly #opening = new Set<Socket>();
  /** TLS sessions by server: spares a round trip and the signature check when a connection is opened again. */
  readonly #sessions = new Map<string, Buffer>();
  #trusted: string[] | undefined;

  constructor(options: HttpClientOptions) {
    this.#clock = options.clock;
    this.#options = options;
    this.#timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
  }

  /**
   * @param role - a proxy is reached directly, a server maybe through one.
   * @param onread - where what is received goes. Then the server is reached directly.
   * @throws LitestreamError when there is no connection within the time limit.
   */
  async connect(
    target: HttpTarget,
    role: 'server' | 'proxy',
    onread?: OnReadOpts,
  ): Promise<Socket> {
    const opened: Socket[] = [];
    const add = (socket: Socket): void => {
      opened.push(socket);
      // Between two steps nobody else may listen.
      socket.on('error', ignore);
      this.#opening.add(socket);
    };
    const where = `${role === 'proxy' ? 'proxy ' : ''}${hostAndPort(target)}`;
    const late = silenceError(where, 'connect', this.#timeoutMs);
    const timer = this.#clock.timer(this.#timeoutMs, () => {
      opened.at(-1)?.destroy(late);
    });
    try {
      const direct = role === 'proxy' || onread !== undefined;
      const socket = direct
        ? await this.#direct(target, add, onread)
        : await this.#open(target, add);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      return socket;
    } catch (error) {
      for (const socket of opened) socket.destroy();
      throw connectionError(where, 'connect', error);
    } finally {
      timer.cancel();
      for (const socket of opened) this.#opening.delete(socket);
    }
  }

  /** Gives up connections that are being opened. */
  close(): void {
    for (const socket of this.#opening) {
      socket.destroy(new LitestreamError('ERR_ABORTED', 'context canceled'));
    }
    this.#sessions.clear();
  }

  async #open(target: HttpTarget, add: (socket: Socket) => void): Promise<Socket> {
    const { environment = {} } = this.#options;
    const proxy = target.protocol === 'https:' ? proxyFor(target, environment) : undefined;
    if (proxy === undefined) return this.#direct(target, add);
    const socket = await this.#toProxy(proxy, add);
    await openTunnel(socket, target, proxy);
    return this.#secure(target, add, { socket });
  }

  async #toProxy(proxy: Proxy, add: (socket: Socket) => void): Promise<Socket> {
    try {
      return await this.#direct(proxy.target, add);
    } catch (error) {
      throw connectionError(`proxy ${hostAndPort(proxy.target)}`, 'connect', error);
    }
  }

  async #direct(
    target: HttpTarget,
    add: (socket: Socket) => void,
    onread?: OnReadOpts,
  ): Promise<Socket> {
    if (target.protocol === 'https:') return this.#secure(target, add, { onread });
    const socket = connectTcp({
      host: target.host,
      port: target.port,
      ...(onread && { onread }),
    });
    add(socket);
    await opened(socket, 'connect');
    return socket;
  }

  async #secure(
    target: HttpTarget,
    add: (socket: Socket) => void,
    wire: { readonly socket?: Socket; readonly onread?: OnReadOpts | undefined },
  ): Promise<tls.TLSSocket> {
    const key = hostAndPort(target);
    const { clientCert, skipVerify } = this.#options;
    const session = this.#sessions.get(key);
    const ca = this.#authorities();
    const socket = tls.connect({
      host: target.host,
      port: target.port,
      ...wire,
      // A server name must not be an address; the certificate is then compared with `host`.
      servername: isIP(target.host) === 0 ? target.host : '',
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: skipVerify !== true,
      ...(ca && { ca }),
      ...(clientCert && { cert: pem(clientCert.cert), key: pem(clientCert.key) }),
      ...(session && { session }),
    });
    add(socket);
    socket.on('session', (ticket: Buffer) => {
      this.#sessions.set(key, ticket);
    });
    try {
      await opened(socket, 'secureConnect');
    } catch (error) {
      this.#sessions.delete(key);
      throw error;
    }
    return socket;
  }

  /** The usual authorities and the user's; undefined if there is nothing to add. */
  #authorities(): string[] | undefined {
    const { ca, environment } = this.#options;
    const file = environment?.['SSL_CERT_FILE'] ?? '';
    if (ca === undefined && file === '') return undefined;
    this.#trusted ??= [
      ...tls.getCACertificates('default'),
      ...(ca === undefined ? [] : [pem(ca)]),
      ...(file === '' ? [] : [readCertificates(file)]),
    ];
    return this.#trusted;
  }
}

function ignore(): void {
  // Whoever uses the socket sees that it is closed.
}

function pem(text: string | Uint8Array): string {
  return typeof text === 'string' ? text : Buffer.from(text).toString('latin1');
}

function readCertificates(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    const message = `read SSL_CERT_FILE ${path}: ${errorMessage(error)}`;
    throw new LitestreamError('ERR_CONFIG', message, { cause: error, details: { path } });
  }
}

function opened(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    const onClose = (): void => reject(closedEarly());
    socket.once('error', reject);
    socket.once('close', onClose);
    socket.once(event, () => {
      socket.off('error', reject);
      socket.off('close', onClose);
      resolve();
    });
  });
}

function closedEarly(): Error {
  return Object.assign(new Error('connection closed'), { code: 'ECONNRESET' });
}

/** Asks a proxy for a tunnel on a fresh connection to it. */
function openTunnel(socket: Socket, target: HttpTarget, proxy: Proxy): Promise<void> {
  const authority = hostAndPort(target);
  const request = http.request({
    method: 'CONNECT',
    path: authority,
    headers: {
      host: authority,
      connection: 'keep-alive',
      ...(proxy.authorization !== undefined && { 'proxy-authorization': proxy.authorization }),
    },
    setHost: false,
    createConnection: () => socket,
  });
  return new Promise((resolve, reject) => {
    const refuse = (status: number): void => reject(refusedByProxy(proxy, authority, status));
    request.once('error', reject);
    request.once('response', (response) => refuse(response.statusCode ?? 0));
    request.once('connect', (response, _socket, head) => {
      if (response.statusCode !== 200) {
        refuse(response.statusCode ?? 0);
        return;
      }
      if (head.length > 0) socket.unshift(head);
      resolve();
    });
    request.end();
  });
}

function refusedByProxy(proxy: Proxy, authority: string, status: number): LitestreamError {
  const name = hostAndPort(proxy.target);
  const message = `proxy ${name} refused a connection to ${authority}: ${status}`;
  const temporary = status >= 500;
  return new LitestreamError(temporary ? 'ERR_STORAGE_TEMPORARY' : 'ERR_STORAGE', message, {
    retryable: temporary,
    details: { host: authority, proxy: name, status },
    hint: 'check HTTPS_PROXY and NO_PROXY',
  });
}
