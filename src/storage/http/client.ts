import * as http from 'node:http';
import { throwIfAborted } from '../../lib/clock.ts';
import { packageVersion } from '../../lib/version.ts';
import { PoolAgent } from './agent.ts';
import { Connector } from './connector.ts';
import { DirectDownloads } from './direct.ts';
import { Exchange } from './exchange.ts';
import { proxyFor } from './proxy.ts';
import {
  hostAndPort,
  hostHeader,
  type HttpClientOptions,
  type HttpRequest,
  type HttpResponse,
  type HttpTarget,
} from './types.ts';

const IDLE_TIMEOUT_MS = 30_000;
const SOCKETS_MAX = 64;
/** Connections of the pool that may turn out to be closed, one after the other, for one request. */
const STALE_CONNECTIONS_MAX = 3;

/**
 * HTTP/1.1 over connections that are kept. What it adds to Node's: paths are sent byte for byte, every wait has a limit and
 * ends with the caller's signal, bodies flow with back pressure, a body that ends early is an error, proxies of the
 * environment are used. Redirects are not followed, `Expect` and chunked requests never sent.
 */
export class HttpClient {
  readonly #options: HttpClientOptions;
  readonly #connector: Connector;
  /** For servers and proxies, plain and with TLS. */
  readonly #agents = new Map<string, PoolAgent>();
  readonly #direct: DirectDownloads;
  readonly #userAgent = `litestream-ts/${packageVersion()}`;

  constructor(options: HttpClientOptions) {
    this.#options = options;
    this.#connector = new Connector(options);
    this.#direct = new DirectDownloads(options.clock, this.#connector);
  }

  /**
   * Sends a request and resolves with the head of the answer, whatever its status. The body has to be read or discarded.
   *
   * A connection of the pool that the server has closed meanwhile is replaced without a word if the request may be
   * repeated: no POST or MOVE, no condition.
   *
   * @throws LitestreamError `ERR_STORAGE_TEMPORARY` (name not found, refused, reset, silent), `ERR_STORAGE` (certificate
   * not trusted, no HTTP), `ERR_ABORTED`; errors of the body's source as they are.
   */
  async send(request: HttpRequest): Promise<HttpResponse> {
    if (request.direct === true) {
      const answer = await this.#sendDirectly(request);
      if (answer !== undefined) return answer;
    }
    for (let stale = 0; ; stale++) {
      throwIfAborted(request.signal);
      const exchange = this.#exchange(request);
      try {
        return await exchange.run();
      } catch (error) {
        if (!exchange.stale || stale >= STALE_CONNECTIONS_MAX || !isRepeatable(request)) {
          throw error;
        }
      }
    }
  }

  /** Closes all connections. */
  close(): void {
    this.#connector.close();
    this.#direct.close();
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  /** Undefined if the request has to be sent through Node's HTTP. */
  async #sendDirectly(request: HttpRequest): Promise<HttpResponse | undefined> {
    const { environment = {}, idleTimeoutMs = IDLE_TIMEOUT_MS } = this.#options;
    if (proxyFor(request.target, environment) !== undefined) return undefined;
    const headers = this.#headers(request);
    return await this.#direct.send(request, headers, request.idleTimeoutMs ?? idleTimeoutMs);
  }

  #exchange(request: HttpRequest): Exchange {
    const { target } = request;
    const { clock, environment = {}, idleTimeoutMs = IDLE_TIMEOUT_MS } = this.#options;
    const proxy = target.protocol === 'http:' ? proxyFor(target, environment) : undefined;
    const peer = proxy?.target ?? target;
    const wire = http.request({
      agent: this.#agent(peer.protocol, proxy === undefined ? 'server' : 'proxy'),
      method: request.method,
      host: peer.host,
      port: peer.port,
      path: proxy === undefined ? request.path : `http://${hostHeader(target)}${request.path}`,
      headers: {
        ...this.#headers(request),
        ...(proxy?.authorization !== undefined && { 'proxy-authorization': proxy.authorization }),
      },
      setHost: false,
    });
    const through = proxy === undefined ? '' : ` (proxy ${hostAndPort(peer)})`;
    const where = hostAndPort(target) + through;
    return new Exchange(wire, request, { clock, where, idleTimeoutMs });
  }

  #agent(protocol: HttpTarget['protocol'], role: 'server' | 'proxy'): PoolAgent {
    const key = `${role} ${protocol}`;
    const known = this.#agents.get(key);
    if (known !== undefined) return known;
    const agent = new PoolAgent(this.#connector, {
      protocol,
      role,
      maxSockets: this.#options.maxSockets ?? SOCKETS_MAX,
    });
    this.#agents.set(key, agent);
    return agent;
  }

  #headers({ headers, target, method, body }: HttpRequest): Record<string, string> {
    const given = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
    const all: Record<string, string> = {};
    if (!given.has('host')) all['host'] = hostHeader(target);
    if (!given.has('user-agent')) all['user-agent'] = this.#userAgent;
    const size = body instanceof Uint8Array ? body.length : body?.size;
    if (!given.has('content-length') && (size !== undefined || /^P(?:U|OS|ATC)/.test(method))) {
      all['content-length'] = String(size ?? 0);
    }
    return { ...all, ...headers };
  }
}

const REPEATABLE: ReadonlySet<string> = new Set([
  'DELETE',
  'GET',
  'HEAD',
  'MKCOL',
  'OPTIONS',
  'PROPFIND',
  'PUT',
]);

function isRepeatable({ method, headers }: HttpRequest): boolean {
  if (!REPEATABLE.has(method)) return false;
  return !Object.keys(headers).some((name) => /^if-(?:none-)?match$/i.test(name));
}
