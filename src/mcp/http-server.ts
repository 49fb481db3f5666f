import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Clock } from '../lib/clock.ts';
import { errorMessage } from '../lib/errors.ts';
import { listenError, listenPort, parseListenAddress } from '../lib/listen-address.ts';
import { DurationValue, type Logger } from '../telemetry/index.ts';
import { type McpProtocol, notJson, parseMessage, type RpcAnswer } from './protocol.ts';

/** Clients that send nothing for so long are disconnected. */
const REQUEST_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 120_000;
const CONNECTIONS_MAX = 64;
const BODY_BYTES_MAX = 4 << 20;
/** How long commands may go on after the listener was closed. */
const GRACE_MS = 10_000;

const SESSION_PREFIX = 'mcp-session-';
const SESSION = /^mcp-session-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export interface McpServerInit {
  /** `host:port`, `:port`, `[v6]:port`. */
  readonly address: string;
  readonly logger: Logger;
  readonly clock: Clock;
}

function plain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'x-content-type-options': 'nosniff',
  });
  response.end(`${text}\n`);
}

function json(response: ServerResponse, status: number, answer: RpcAnswer): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(answer)}\n`);
}

/** False for a page of another site: its scripts could reach a listener of this machine through a name of their own. */
function isLocalOrigin(origin: string | undefined): boolean {
  if (origin === undefined) return true;
  if (!URL.canParse(origin)) return false;
  const { hostname } = new URL(origin);
  return /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
}

function isJsonType(header: string | undefined): boolean {
  const [type = ''] = (header ?? '').split(';', 1);
  return type.trim().toLowerCase() === 'application/json';
}

/** The body; undefined if it is too long. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request) {
    if (!(chunk instanceof Uint8Array)) continue;
    size += chunk.length;
    if (size <= BODY_BYTES_MAX) chunks.push(chunk);
  }
  return size > BODY_BYTES_MAX ? undefined : Buffer.concat(chunks).toString();
}

/**
 * MCP over HTTP ("Streamable HTTP"), on every path of the listener. Open event streams and idle connections never delay the end.
 *
 * Spec: interfaces 5.1.
 */
export class McpServer {
  readonly #init: McpServerInit;
  readonly #protocol: McpProtocol;
  readonly #server: Server;
  readonly #streams = new Set<ServerResponse>();
  readonly #working = new Set<Promise<void>>();

  constructor(init: McpServerInit, protocol: McpProtocol) {
    this.#init = init;
    this.#protocol = protocol;
    const timeouts = {
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
      keepAlive: true,
    };
    this.#server = createServer(timeouts, (request, response) => {
      const work = this.#serve(request, response);
      this.#working.add(work);
      void work.finally(() => void this.#working.delete(work));
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /**
   * Opens the port.
   *
   * @returns the port
   * @throws LitestreamError `ERR_IO`, `ERR_CONFIG`: `listen tcp …`
   */
  async start(): Promise<number> {
    const { address } = this.#init;
    const where = parseListenAddress(address) ?? { host: '', port: address };
    const port = listenPort(where);
    await this.#protocol.start();
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenError(address, error)));
      this.#server.listen(port, where.host === '' ? undefined : where.host, resolve);
    });
    this.#server.unref();
    const bound = this.#server.address();
    return typeof bound === 'object' && bound !== null ? bound.port : port;
  }

  /** Ends streams at once, and waits for the commands that are running, but not for long. Never throws. */
  async close(): Promise<void> {
    this.#server.close();
    for (const stream of this.#streams) stream.end();
    this.#server.closeIdleConnections();
    if (this.#working.size > 0) await this.#workDone();
    await this.#protocol.close();
    this.#server.closeAllConnections();
  }

  async #workDone(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#init.clock.timer(GRACE_MS, resolve);
    try {
      await Promise.race([Promise.allSettled(this.#working), promise]);
    } finally {
      timer.cancel();
    }
  }

  /** Never throws. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { clock, logger } = this.#init;
    const started = clock.monotonic();
    request.on('error', () => void response.destroy());
    response.on('error', () => undefined);
    try {
      await this.#answer(request, response);
    } catch (error) {
      logger.log('debug', 'cannot answer mcp request', { error: errorMessage(error) });
      response.destroy();
    }
    logger.log('debug', 'mcp request', {
      method: request.method ?? '',
      path: request.url ?? '',
      status: response.statusCode,
      duration: new DurationValue(clock.monotonic() - started),
      client: request.socket.remoteAddress ?? '',
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method } = request;
    if (method !== 'POST') request.resume();
    if (!isLocalOrigin(request.headers.origin)) {
      request.resume();
      plain(response, 403, 'Forbidden: foreign origin');
    } else if (method === 'POST') await this.#post(request, response);
    else if (method === 'GET') this.#stream(response);
    else if (method === 'DELETE') response.writeHead(200).end();
    else plain(response, 404, '404 page not found');
  }

  async #post(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isJsonType(request.headers['content-type'])) {
      request.resume();
      plain(response, 400, "Invalid content type: must be 'application/json'");
      return;
    }
    const body = await readBody(request);
    if (body === undefined) {
      plain(response, 413, 'Request Entity Too Large');
      return;
    }
    const message = parseMessage(body);
    if (message === undefined) {
      json(response, 400, notJson);
      return;
    }
    let session = String(request.headers['mcp-session-id'] ?? '');
    if (message['method'] === 'initialize') {
      session = `${SESSION_PREFIX}${crypto.randomUUID()}`;
      response.setHeader('Mcp-Session-Id', session);
    } else if (!SESSION.test(session)) {
      plain(response, 400, 'Invalid session ID');
      return;
    }
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const answer = await this.#protocol.answer(message, session, gone.signal);
    if (answer === undefined) response.writeHead(202).end();
    else json(response, 200, answer);
  }

  /** An event stream that stays open and silent. */
  #stream(response: ServerResponse): void {
    this.#streams.add(response);
    response.once('close', () => void this.#streams.delete(response));
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    response.flushHeaders();
  }
}
