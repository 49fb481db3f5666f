import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { DatabaseHealth } from '../../engine/index.ts';
import { errorMessage } from '../../lib/errors.ts';
import {
  listenError,
  listenPort,
  parseListenAddress,
  urlAuthority,
} from '../../lib/listen-address.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { PrometheusMetrics } from '../metrics/prometheus.ts';
import { PROFILES, type Profiles } from '../profiles/handler.ts';
import { type DashboardRow, dashboardHtml } from './dashboard.ts';
import { jsonReply, methodNotAllowed, notFound, type Reply, send } from './respond.ts';

/** Clients that send or take nothing for so long are disconnected. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 120_000;
const CONNECTIONS_MAX = 256;

export interface MetricsServerInit {
  /** `host:port`, `:port`, `[v6]:port`. */
  readonly address: string;
  readonly logger: Logger;
  readonly metrics: PrometheusMetrics;
  readonly health: () => readonly DatabaseHealth[];
  readonly dashboard: () => readonly DashboardRow[];
  readonly version: string;
  /** Served to this machine alone: taking one slows the program down. */
  readonly profiles?: Profiles | undefined;
}

/**
 * Metrics, a health check and one page over HTTP, on `addr`. Answers while the program shuts down, and never delays it.
 *
 * Spec: interfaces 3, 8.3.
 */
export class MetricsServer {
  readonly #init: MetricsServerInit;
  readonly #server: Server;
  /** Only this machine can reach the port. */
  #isPrivate = false;

  constructor(init: MetricsServerInit) {
    this.#init = init;
    const timeouts = {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
    };
    this.#server = createServer(timeouts, (request, response) => {
      void this.#serve(request, response);
    });
    this.#server.timeout = IDLE_TIMEOUT_MS;
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /**
   * Opens the port.
   *
   * @returns the address of the metrics
   * @throws LitestreamError `ERR_IO`, `ERR_CONFIG`: `listen tcp …`
   */
  async start(): Promise<string> {
    const { address } = this.#init;
    const where = parseListenAddress(address) ?? { host: '', port: address };
    const port = listenPort(where);
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenError(address, error)));
      this.#server.listen(port, where.host === '' ? undefined : where.host, resolve);
    });
    this.#server.unref();
    const bound = this.#server.address();
    this.#isPrivate = typeof bound === 'object' && isLoopback(bound?.address ?? '');
    const real = typeof bound === 'object' && bound !== null ? bound.port : port;
    return `http://${urlAuthority(where, real)}/metrics`;
  }

  /** Drops all connections. */
  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Never throws. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A body means nothing here, but the connection can only go on behind it.
    request.resume();
    request.on('error', () => void response.destroy());
    const { path, query } = parseTarget(request.url ?? '');
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    try {
      const reply = path.startsWith(PROFILES)
        ? await this.#profile(path, query, gone.signal)
        : await this.#answer(path, request.method ?? 'GET');
      await send(request, response, reply);
      if (path === '/metrics') this.#init.metrics.answered(200);
    } catch (error) {
      if (path === '/metrics') this.#init.metrics.answered(500);
      this.#init.logger.log('debug', 'cannot answer http request', {
        path,
        error: errorMessage(error),
      });
      response.destroy();
    }
  }

  async #profile(path: string, query: URLSearchParams, signal: AbortSignal): Promise<Reply> {
    const { profiles } = this.#init;
    return profiles !== undefined && this.#isPrivate
      ? profiles.answer(path, query, signal)
      : notFound;
  }

  async #answer(path: string, method: string): Promise<Reply> {
    const { dashboard, health, metrics, version } = this.#init;
    if (path === '/metrics') {
      // Taken now, so that the gauges of the watchdog are of this moment.
      health();
      const body = await metrics.scrape();
      return { status: 200, contentType: metrics.contentType, body };
    }
    if (path !== '/' && path !== '/healthz') return notFound;
    if (method !== 'GET' && method !== 'HEAD') return methodNotAllowed('GET, HEAD');
    if (path === '/healthz') return healthReply(health());
    const body = dashboardHtml(dashboard(), version);
    return { status: 200, contentType: 'text/html; charset=utf-8', body };
  }
}

function healthReply(databases: readonly DatabaseHealth[]): Reply {
  const healthy = databases.every(({ status }) => status !== 'unhealthy');
  return jsonReply(healthy ? 200 : 503, {
    status: healthy ? 'ok' : 'unhealthy',
    databases: databases.map(({ path, status, txid, replicatedTxid, lagMs }) => ({
      path,
      status,
      txid: Number(txid),
      replicated_txid: Number(replicatedTxid),
      lag_seconds: lagMs / 1000,
    })),
  });
}

function parseTarget(target: string): { path: string; query: URLSearchParams } {
  const at = target.indexOf('?');
  return at < 0
    ? { path: target, query: new URLSearchParams() }
    : { path: target.slice(0, at), query: new URLSearchParams(target.slice(at + 1)) };
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1' || address === '::ffff:127.0.0.1';
}
