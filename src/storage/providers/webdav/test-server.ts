import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { reset } from '../../../../test/support/servers/reset.ts';

/** A request as it came in. */
export interface SeenRequest {
  readonly method: string;
  /** Byte for byte. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** What one request gets instead of the usual answer; undefined for the usual one. */
export type Rule = (
  request: SeenRequest,
) =>
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }
  | 'reset'
  | 'do it and reset'
  | undefined;

/** A WebDAV server in memory, as strict or as odd as a test wants it. Collections' names end in a slash. */
export class TestServer {
  readonly files: Map<string, Buffer> = new Map();
  readonly collections: Set<string> = new Set(['/']);
  readonly modified: Map<string, string> = new Map();
  readonly requests: SeenRequest[] = [];
  rule: Rule = () => undefined;
  /** False: ranges are ignored. */
  ranges = true;
  /** Rewrites the answer to PROPFIND. */
  rewrite: (xml: string) => string = (xml) => xml;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((request, response) => {
    this.#serve(request, response).catch(() => {
      request.socket.destroy();
    });
  });

  static async start(): Promise<TestServer> {
    const server = new TestServer();
    await new Promise<void>((resolve) => {
      server.#server.listen(0, '127.0.0.1', resolve);
    });
    server.#server.on('connection', (socket: Socket) => {
      server.#sockets.add(socket);
    });
    return server;
  }

  get url(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  }

  /** `METHOD path` of what has come since the last call. */
  take(): string[] {
    return this.requests.splice(0).map(({ method, url }) => `${method} ${url}`);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
    });
    await once(incoming, 'end');
    const request: SeenRequest = {
      method: incoming.method ?? '',
      url: incoming.url ?? '',
      headers: Object.fromEntries(
        Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]),
      ),
      body: Buffer.concat(chunks),
    };
    this.requests.push(request);
    const rule = this.rule(request);
    if (rule === 'reset') {
      reset(incoming.socket);
      return;
    }
    if (typeof rule === 'object') {
      response.writeHead(rule.status, rule.headers).end(rule.body);
      return;
    }
    const [status, headers, body] = this.#answer(request);
    if (rule === 'do it and reset') reset(incoming.socket);
    else {
      response.writeHead(status, { date: 'Sat, 21 Nov 2026 12:00:00 GMT', ...headers });
      response.end(request.method === 'HEAD' ? undefined : body);
    }
  }

  #answer(request: SeenRequest): [number, Record<string, string>?, (Buffer | string)?] {
    const path = decodeURIComponent(request.url);
    switch (request.method) {
      case 'OPTIONS':
        return [200, { dav: '1' }];
      case 'PROPFIND':
        return this.#list(path);
      case 'MKCOL':
        return [this.#make(path)];
      case 'PUT':
        return [this.#put(path, request)];
      case 'MOVE':
        return [this.#move(path, request)];
      case 'DELETE':
        return [this.#delete(path)];
      default:
        return this.#get(path, request);
    }
  }

  #list(path: string): [number, Record<string, string>?, string?] {
    if (!this.collections.has(path)) return [404];
    const child = (name: string): boolean =>
      name !== path && name.startsWith(path) && /^[^/]+\/?$/.test(name.slice(path.length));
    const collections = [path, ...[...this.collections].filter(child)].map((name) =>
      entry(name, '<D:resourcetype><D:collection/></D:resourcetype>'),
    );
    const files = [...this.files]
      .filter(([name]) => child(name))
      .map(([name, { length }]) => {
        const date = this.modified.get(name) ?? 'Sat, 21 Nov 2026 11:59:00 GMT';
        return entry(
          name,
          `<D:resourcetype/><D:getcontentlength>${length}</D:getcontentlength><D:getlastmodified>${date}</D:getlastmodified>`,
        );
      });
    const xml = `<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">${[...collections, ...files].join('')}</D:multistatus>`;
    return [207, { 'content-type': 'application/xml' }, this.rewrite(xml)];
  }

  #make(path: string): number {
    if (this.collections.has(path)) return 405;
    if (!this.collections.has(parentOf(path))) return 409;
    this.collections.add(path);
    return 201;
  }

  #put(path: string, { headers, body }: SeenRequest): number {
    if (headers['transfer-encoding'] !== undefined) return 411;
    if (!this.collections.has(parentOf(path))) return 409;
    if (headers['if-none-match'] === '*' && this.files.has(path)) return 412;
    this.files.set(path, body);
    return 201;
  }

  #move(path: string, { headers }: SeenRequest): number {
    const bytes = this.files.get(path);
    const target = decodeURIComponent((headers['destination'] ?? '').replace(this.url, ''));
    if (bytes === undefined) return 404;
    if (headers['overwrite'] === 'F' && this.files.has(target)) return 412;
    this.files.delete(path);
    this.files.set(target, bytes);
    return 201;
  }

  #delete(path: string): number {
    if (this.files.delete(path)) return 204;
    if (!this.collections.has(path)) return 404;
    for (const name of this.collections) if (name.startsWith(path)) this.collections.delete(name);
    for (const name of this.files.keys()) if (name.startsWith(path)) this.files.delete(name);
    return 204;
  }

  #get(path: string, { headers }: SeenRequest): [number, Record<string, string>?, Buffer?] {
    const bytes = this.files.get(path);
    if (bytes === undefined) return [404];
    const range = this.ranges ? /^bytes=([0-9]+)-([0-9]*)$/.exec(headers['range'] ?? '') : null;
    if (range === null) return [200, { 'content-length': String(bytes.length) }, bytes];
    const from = Number(range[1]);
    if (from >= bytes.length) return [416];
    const part = bytes.subarray(from, range[2] ? Number(range[2]) + 1 : undefined);
    const last = from + part.length - 1;
    return [206, { 'content-range': `bytes ${from}-${last}/${bytes.length}` }, part];
  }
}

function parentOf(path: string): string {
  return path.replace(/[^/]*\/?$/, '');
}

function entry(path: string, properties: string): string {
  const href = path.split('/').map(encodeURIComponent).join('/');
  return `<D:response><D:href>${href}</D:href><D:propstat><D:prop>${properties}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>`;
}
