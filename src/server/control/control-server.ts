import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isAborted, type TimerHandle } from '../../lib/clock.ts';
import { errorMessage, LitestreamError } from '../../lib/errors.ts';
import type { Logger } from '../../telemetry/index.ts';
import { methodNotAllowed, notFound, type Reply } from '../listener/respond.ts';
import { BodyError, decodeObject } from './body.ts';
import { type ControlContext, errorReply } from './context.ts';
import { createRoutes, type Route } from './routes.ts';
import {
  bindError,
  makeWay,
  removeOwn,
  type SocketIdentity,
  takePlace,
  temporaryName,
} from './socket-file.ts';

const BODY_BYTES_MAX = 1 << 20;
/** A body that is too large is read up to here and thrown away, so that its sender sees the answer. */
const DISCARD_BYTES_MAX = 16 << 20;
/** Clients that do not send a whole request, or do not take their answer, are disconnected after this long. */
const REQUEST_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 300_000;
const CHECK_INTERVAL_MS = 5000;
const CONNECTIONS_MAX = 1024;
/** Running requests get this long when the server ends. */
const SHUTDOWN_MS = 5000;
const RETRY_MS = 1000;

export interface ControlServerInit extends Omit<ControlContext, 'startedAt'> {
  readonly path: string;
  /** Mode of the socket file. */
  readonly permissions: number;
  /** Without attributes. */
  readonly logger: Logger;
  readonly random: () => number;
}

/**
 * The control socket: HTTP over a Unix socket. It is made under another name and put in place by a link, so that it has its mode before
 * anybody can connect, and closing it never removes a successor's. One that is served by another process stays that process's until it ends.
 *
 * Spec: interfaces 2; failures OPS-12, OPS-22.
 */
export class ControlServer {
  readonly #init: ControlServerInit;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  readonly #sockets = new Set<Socket>();
  /** Connections with a request that is being worked on. */
  readonly #busy = new Map<Socket, number>();
  #routes: ReadonlyMap<string, Route> = new Map();
  #server: Server | undefined;
  #own: SocketIdentity | undefined;
  #retry: TimerHandle | undefined;
  #retrying: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  constructor(init: ControlServerInit) {
    this.#init = init;
    this.#logger = init.logger.with({ system: 'server' });
  }

  /**
   * Opens the socket; while another process serves the path it is tried again every second.
   *
   * @throws LitestreamError `ERR_CONFIG`, `ERR_IO`: replication can go on without
   */
  async start(): Promise<void> {
    const { path } = this.#init;
    if (path === '') throw new LitestreamError('ERR_CONFIG', 'socket path required');
    if (await this.#open()) return;
    this.#logger.log('warn', 'control socket in use by another process', { path });
    this.#waitForTurn();
  }

  /** Ends everything: running requests are aborted and get five seconds. Never throws. */
  async close(): Promise<void> {
    this.#stop.abort(new LitestreamError('ERR_ABORTED', 'context canceled'));
    this.#retry?.cancel();
    await this.#retrying;
    const server = this.#server;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    for (const socket of this.#sockets) if (!this.#busy.has(socket)) socket.destroy();
    await this.#untilIdle();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    try {
      if (this.#own !== undefined) await removeOwn(this.#init.path, this.#own);
    } catch (error) {
      this.#logger.log('error', 'http server shutdown error', { error: errorMessage(error) });
    }
  }

  #waitForTurn(): void {
    if (this.#stop.signal.aborted) return;
    this.#retry = this.#init.clock.timer(RETRY_MS, () => {
      this.#retrying = this.#tryAgain();
    });
  }

  async #tryAgain(): Promise<void> {
    try {
      if (!(await this.#open())) this.#waitForTurn();
    } catch (error) {
      this.#init.logger.log('warn', 'failed to start control server', {
        error: errorMessage(error),
      });
    }
  }

  /** Returns false if another process has the socket. */
  async #open(): Promise<boolean> {
    const { clock, path, permissions, random } = this.#init;
    if (!(await makeWay(path, clock))) return false;
    const server = this.#createServer();
    const temporary = temporaryName(path, random);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(temporary, resolve);
      });
    } catch (error) {
      throw await bindError(path, error);
    }
    this.#routes = createRoutes({ wallMs: clock.now(), monotonic: clock.monotonic() });
    try {
      this.#own = await takePlace(temporary, path, permissions);
    } catch (error) {
      server.close();
      throw error;
    }
    if (this.#own === undefined || isAborted(this.#stop.signal)) {
      // Closing removes the name that it was made under.
      server.close();
      if (this.#own !== undefined) await removeOwn(path, this.#own);
      this.#own = undefined;
      return false;
    }
    server.on('error', (error) => {
      this.#logger.log('error', 'http server error', { error: errorMessage(error) });
    });
    this.#server = server;
    this.#logger.log('info', 'control socket listening', { path });
    return true;
  }

  #createServer(): Server {
    const options = {
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      requireHostHeader: false,
    };
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#serve(request, response);
    };
    const server = createServer(options, listener);
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => void this.#sockets.delete(socket));
    });
    server.maxConnections = CONNECTIONS_MAX;
    return server;
  }

  /** Never throws. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.on('close', () => gone.abort(new LitestreamError('ERR_ABORTED', 'context canceled')));
    let reply: Reply;
    try {
      reply = await this.#answer(request, AbortSignal.any([gone.signal, this.#stop.signal]));
    } catch (error) {
      reply = errorReply(500, errorMessage(error));
    }
    if (!response.destroyed) this.#send(request, response, reply);
  }

  async #answer(request: IncomingMessage, signal: AbortSignal): Promise<Reply> {
    const { pathname, query } = parseTarget(request.url ?? '');
    const route = this.#routes.get(pathname);
    const bytes = await readBody(request);
    if (route === undefined) return notFound;
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    if (method !== route.method || (request.method === 'HEAD' && route.method !== 'GET')) {
      return methodNotAllowed(route.method === 'GET' ? 'GET, HEAD' : 'POST');
    }
    if (bytes === undefined) return errorReply(413, 'request body too large');
    let fields: ReadonlyMap<string, unknown> = new Map();
    try {
      if (route.method === 'POST') fields = decodeObject(bytes.toString('utf8'));
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      return errorReply(400, 'invalid request body', error.message);
    }
    return this.#working(request.socket, async () =>
      route.handle({ query, fields, signal }, this.#init),
    );
  }

  /** While `work` runs, the connection is not cut at once when the server ends. */
  async #working<T>(socket: Socket, work: () => Promise<T>): Promise<T> {
    this.#busy.set(socket, (this.#busy.get(socket) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (this.#busy.get(socket) ?? 1) - 1;
      if (left > 0) this.#busy.set(socket, left);
      else this.#busy.delete(socket);
      if (this.#busy.size === 0) this.#idle?.();
    }
  }

  #send(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
    const body = Buffer.from(reply.body);
    response.statusCode = reply.status;
    for (const [name, value] of Object.entries(reply.headers ?? {}))
      response.setHeader(name, value);
    response.setHeader('content-type', reply.contentType);
    response.setHeader('content-length', body.length);
    if (this.#stop.signal.aborted || reply.status === 413)
      response.setHeader('connection', 'close');
    // Whoever does not take the answer gives it up.
    const timer = this.#init.clock.timer(REQUEST_TIMEOUT_MS, () => {
      request.socket.destroy();
    });
    timer.unref?.();
    response.on('close', () => timer.cancel());
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  /** Until no request is being worked on and the answers are on their way, five seconds at most. */
  async #untilIdle(): Promise<void> {
    if (this.#busy.size > 0) {
      await new Promise<void>((resolve) => {
        const late = (): void => {
          const error = 'context deadline exceeded';
          this.#logger.log('error', 'http server shutdown error', { error });
          resolve();
        };
        const timer = this.#init.clock.timer(SHUTDOWN_MS, late);
        this.#idle = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    // The last answers leave in this turn of the event loop.
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}

function parseTarget(target: string): {
  readonly pathname: string;
  readonly query: URLSearchParams;
} {
  const question = target.indexOf('?');
  if (question < 0) return { pathname: target, query: new URLSearchParams() };
  const query = new URLSearchParams(target.slice(question + 1));
  return { pathname: target.slice(0, question), query };
}

/** The whole body; undefined if it is too large. @throws LitestreamError `ERR_ABORTED` if the client goes away in the middle */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request) {
      if (!Buffer.isBuffer(chunk)) continue;
      size += chunk.length;
      if (size > DISCARD_BYTES_MAX) break;
      if (size > BODY_BYTES_MAX) chunks.length = 0;
      else chunks.push(chunk);
    }
  } catch (error) {
    throw new LitestreamError('ERR_ABORTED', 'context canceled', { cause: error });
  }
  return size > BODY_BYTES_MAX ? undefined : Buffer.concat(chunks);
}
