import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { reset } from './reset.ts';
import type { Scope } from './scope.ts';

/** One request as the proxy got it, and what became of it. */
export interface Exchange {
  /** Counts from 0. */
  readonly number: number;
  readonly method: string;
  /** Path and query, byte for byte. */
  readonly target: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** Milliseconds on the clock of `performance.now()`. */
  readonly at: number;
  /** Complete once the request has arrived as a whole. */
  body: Buffer;
  /** 0 until there is an answer. */
  status: number;
}

/** What to do instead of passing a request on and its answer back. */
export type Fault =
  /** Answers without asking the server. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** Passes it on later. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Resets the connection before the server learns of the request. */
  | { readonly kind: 'refuse' }
  /** Lets the server do it and resets the connection in place of the answer. */
  | { readonly kind: 'lose-answer' }
  /** Passes on so many bytes of the answer's body and resets the connection, or ends it as if nothing were wrong. */
  | { readonly kind: 'cut'; readonly bytes: number; readonly how: 'reset' | 'end' }
  /** Resets the connection after so many bytes of the request's body. */
  | { readonly kind: 'cut-upload'; readonly bytes: number }
  /** Never answers; with `bytes` after so many bytes of the answer's body. */
  | { readonly kind: 'silence'; readonly bytes?: number };

/** Decides about a request when its headers are there; undefined passes it on. */
export type FaultPlan = (exchange: Exchange) => Fault | undefined;

/** `N × 503` and the like for the requests that match; later ones pass. */
export function answers(
  times: number,
  status: number,
  { headers, match = () => true }: { headers?: Record<string, string>; match?: Match } = {},
): FaultPlan {
  return first(times, { kind: 'answer', status, ...(headers && { headers }) }, match);
}

/** The same fault for the first so many requests that match. */
export function first(times: number, fault: Fault, match: Match = () => true): FaultPlan {
  let left = times;
  return (exchange) => {
    if (left <= 0 || !match(exchange)) return undefined;
    left -= 1;
    return fault;
  };
}

export type Match = (exchange: Exchange) => boolean;

/**
 * An HTTP proxy in front of a server on the loopback, which can break what passes. Heads are passed on unchanged, so that
 * signatures stay valid. It also serves as `HTTP_PROXY`: requests for any host reach the one server behind it; `CONNECT` is
 * recorded and leads there, too.
 */
export class FaultProxy {
  /** The server behind it, on 127.0.0.1. May change. */
  upstream: number;
  /** What goes wrong from now on. */
  fault: FaultPlan | undefined;
  /** Everything that was asked, in order. */
  readonly exchanges: Exchange[] = [];
  /** Connections that were ever accepted. */
  connections = 0;
  readonly #server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 });
  readonly #sockets = new Set<Socket>();
  #port = 0;

  private constructor(upstream: number) {
    this.upstream = upstream;
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      const { socket } = request;
      this.#serve(request, response).catch(() => {
        // The server is down, or went away: the client sees a connection that breaks.
        reset(socket);
      });
    };
    this.#server.on('request', serve);
    this.#server.on('checkContinue', (request, response) => {
      response.writeContinue();
      serve(request, response);
    });
    this.#server.on('connection', (socket) => {
      this.connections += 1;
      this.#keep(socket);
    });
    this.#server.on('connect', (request, socket) => {
      this.#tunnel(request, socket as Socket);
    });
  }

  static async start(scope: Scope, upstream: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(upstream);
    await new Promise<void>((resolve) => {
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    const address = proxy.#server.address();
    proxy.#port = typeof address === 'object' && address !== null ? address.port : 0;
    scope.after(() => proxy.#close());
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Recorded requests by method and a pattern for the target. */
  where(method: string, target: RegExp = /^/): readonly Exchange[] {
    return this.exchanges.filter((one) => one.method === method && target.test(one.target));
  }

  /** Resets all connections. */
  cut(): void {
    for (const socket of this.#sockets) reset(socket);
  }

  async #close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => {
      this.#sockets.delete(socket);
    });
  }

  #record(request: IncomingMessage): Exchange {
    const headers = Object.entries(request.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(', ') : (value ?? ''),
    ]);
    const exchange: Exchange = {
      number: this.exchanges.length,
      method: request.method ?? '',
      target: (request.url ?? '').replace(/^http:\/\/[^/]*/, ''),
      headers: Object.fromEntries(headers) as Record<string, string>,
      at: performance.now(),
      body: Buffer.alloc(0),
      status: 0,
    };
    this.exchanges.push(exchange);
    return exchange;
  }

  #tunnel(request: IncomingMessage, client: Socket): void {
    const exchange = this.#record(request);
    const up = connect(this.upstream, '127.0.0.1');
    this.#keep(up);
    up.once('connect', () => {
      exchange.status = 200;
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      up.pipe(client);
      client.pipe(up);
    });
    up.once('close', () => {
      client.destroy();
    });
    client.once('close', () => {
      up.destroy();
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = this.#record(request);
    const fault = this.fault?.(exchange);
    if (fault?.kind === 'refuse') {
      reset(request.socket);
      return;
    }
    const limit = fault?.kind === 'cut-upload' ? fault.bytes : Infinity;
    if (!(await receive(request, exchange, limit))) {
      reset(request.socket);
      return;
    }
    if (fault?.kind === 'silence' && fault.bytes === undefined) return;
    if (fault?.kind === 'answer') {
      exchange.status = fault.status;
      response.writeHead(fault.status, fault.headers).end(fault.body);
      return;
    }
    if (fault?.kind === 'delay') await sleep(fault.ms);
    await this.#forward(request, response, exchange, fault);
  }

  async #forward(
    request: IncomingMessage,
    response: ServerResponse,
    exchange: Exchange,
    fault: Fault | undefined,
  ): Promise<void> {
    const { socket } = request;
    const answer = await this.#ask(request, exchange);
    exchange.status = answer.statusCode ?? 0;
    if (fault?.kind === 'lose-answer') {
      answer.resume();
      reset(socket);
      return;
    }
    response.sendDate = false;
    response.writeHead(exchange.status, answer.statusMessage, answer.rawHeaders);
    response.flushHeaders();
    const limit = fault?.kind === 'cut' || fault?.kind === 'silence' ? fault.bytes : undefined;
    const whole = await relay(answer, response, limit ?? Infinity);
    if (whole && limit === undefined) response.end();
    else if (fault?.kind !== 'cut') return;
    else if (fault.how === 'reset') reset(socket);
    else socket.end();
  }

  #ask(request: IncomingMessage, exchange: Exchange): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const asked = httpRequest(
        {
          host: '127.0.0.1',
          port: this.upstream,
          method: exchange.method,
          path: exchange.target,
          headers: request.rawHeaders,
          setDefaultHeaders: false,
          agent: false,
        },
        resolve,
      );
      asked.once('error', reject);
      asked.once('socket', (socket) => {
        this.#keep(socket);
      });
      asked.end(exchange.body);
    });
  }
}

/** Reads the body; false if the limit was reached before its end. */
async function receive(
  request: IncomingMessage,
  exchange: Exchange,
  limit: number,
): Promise<boolean> {
  const chunks: Buffer[] = [];
  let size = 0;
  // A connection that is to break has to be there still.
  const parts: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
  for await (const chunk of parts) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= limit) break;
  }
  exchange.body = Buffer.concat(chunks);
  return size < limit;
}

/** Passes on the body up to a limit; false if the limit was reached before its end. */
async function relay(
  answer: IncomingMessage,
  response: ServerResponse,
  limit: number,
): Promise<boolean> {
  let left = limit;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, left);
    left -= part.length;
    await new Promise<void>((resolve) => {
      // A client that is gone takes nothing any more; its socket's end is handled elsewhere.
      response.write(part, () => {
        resolve();
      });
    });
    if (left <= 0) return false;
  }
  return true;
}
