import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { registerSecret } from '../secrets.ts';
import { FaultProxy } from './fault-proxy.ts';
import type { Scope } from './scope.ts';

const PAGE_SIZE_MAX = 1000;
/** All chunks of a session but the last one are multiples of this. */
const CHUNK_UNIT = 256 * 1024;
const INCOMPLETE = 308;

interface StoredObject {
  readonly bytes: Buffer;
  readonly metadata: Readonly<Record<string, string>>;
  readonly timeCreated: string;
}

interface Session {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly ifAbsent: boolean;
  readonly size: number;
  bytes: Buffer;
  /** The answer to the last chunk, given again to whoever asks. */
  answer?: Answer;
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
}

interface Resource {
  readonly name: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly md5Hash?: string;
}

export interface GcsServerOptions {
  /** Names per page of a listing. */
  readonly pageSize?: number;
}

/**
 * Google Cloud Storage in memory, as far as a replica needs it, for what the emulator cannot show: that requests carry a token,
 * that a token may end, and that uploads in sessions go on where they broke. It follows the published rules: a session tells how
 * much it has, ignores what it has already, and answers again when it is complete.
 */
export class GcsServer {
  readonly bucket: string = 'testbucket';
  readonly objects: Map<string, StoredObject> = new Map();
  readonly sessions: Map<string, Session> = new Map();
  /** Tokens that open the bucket. */
  readonly tokens: Set<string> = new Set();
  /** In front of the server; clients use its port. */
  proxy!: FaultProxy;
  readonly #pageSize: number;

  private constructor({ pageSize = PAGE_SIZE_MAX }: GcsServerOptions) {
    this.#pageSize = pageSize;
  }

  static async start(scope: Scope, options: GcsServerOptions = {}): Promise<GcsServer> {
    const store = new GcsServer(options);
    const server = createServer((request, response) => {
      store.#serve(request, response).catch((error: unknown) => {
        response.destroy(error instanceof Error ? error : undefined);
      });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    scope.after(
      () =>
        new Promise((resolve) => {
          server.close(resolve);
          server.closeAllConnections();
        }),
    );
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    store.proxy = await FaultProxy.start(scope, port);
    return store;
  }

  put(
    name: string,
    bytes: Uint8Array,
    metadata: Readonly<Record<string, string>> = {},
  ): StoredObject {
    const object = {
      bytes: Buffer.from(bytes),
      metadata,
      timeCreated: new Date().toISOString(),
    };
    this.objects.set(name, object);
    return object;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    const { status, headers = {}, body: content = '' } = this.#answer(request, body);
    const bytes = Buffer.from(content);
    response.writeHead(status, { ...headers, 'content-length': String(bytes.length) });
    response.end(bytes);
  }

  #answer(request: IncomingMessage, body: Buffer): Answer {
    const url = new URL(request.url ?? '', 'http://server');
    const query = url.searchParams;
    const session = query.get('upload_id');
    // The address of a session is proof enough.
    if (session !== null) return this.#continue(session, request, body);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    if (!this.tokens.has(token)) return failure(401, 'Invalid Credentials', 'authError');
    const found = /^(\/upload)?\/storage\/v1\/b\/([^/]+)\/o(?:\/([^/]+))?$/.exec(url.pathname);
    if (found === null) return failure(404, 'Not Found', 'notFound');
    const [, upload, bucket, encodedName] = found;
    if (bucket !== this.bucket) {
      return failure(404, 'The specified bucket does not exist.', 'notFound');
    }
    if (upload !== undefined) return this.#upload(query, request, body);
    if (encodedName === undefined) return this.#list(query);
    const name = decodeURIComponent(encodedName);
    const object = this.objects.get(name);
    if (object === undefined) return failure(404, `No such object: ${bucket}/${name}`, 'notFound');
    if (request.method === 'DELETE') {
      this.objects.delete(name);
      return { status: 204 };
    }
    return read(object, request.headers.range);
  }

  #list(query: URLSearchParams): Answer {
    const prefix = query.get('prefix') ?? '';
    const from = query.get('startOffset') ?? '';
    const after = query.get('pageToken') ?? '';
    const names = [...this.objects.keys()]
      .filter((name) => name.startsWith(prefix) && name >= from && name > after)
      .toSorted();
    const limit = Math.min(Number(query.get('maxResults') ?? PAGE_SIZE_MAX), this.#pageSize);
    const items = names.slice(0, limit).flatMap((name) => {
      const object = this.objects.get(name);
      return object === undefined ? [] : [describe(name, object)];
    });
    const more = names.length > limit ? { nextPageToken: names[limit - 1] } : {};
    // Without a match the real answer has no member `items`.
    return json(items.length === 0 ? { kind: 'storage#objects' } : { items, ...more });
  }

  #upload(query: URLSearchParams, request: IncomingMessage, body: Buffer): Answer {
    const ifAbsent = query.get('ifGenerationMatch') === '0';
    if (query.get('uploadType') === 'multipart') {
      const boundary = /boundary=(.+)$/.exec(request.headers['content-type'] ?? '')?.[1] ?? '';
      const { resource, bytes } = split(body, boundary);
      const md5 = createHash('md5').update(bytes).digest('base64');
      if (resource.md5Hash !== undefined && resource.md5Hash !== md5) {
        return failure(400, 'Provided MD5 hash does not match', 'invalid');
      }
      return this.#store({ ...resource, ifAbsent, bytes });
    }
    const { name, metadata = {} } = JSON.parse(body.toString('utf8')) as Resource;
    if (ifAbsent && this.objects.has(name)) return conditionNotMet();
    const size = Number(request.headers['x-upload-content-length']);
    // Who knows the address of a session may write.
    const id = registerSecret('upload session', randomUUID());
    this.sessions.set(id, { name, metadata, ifAbsent, size, bytes: Buffer.alloc(0) });
    const path = `/upload/storage/v1/b/${this.bucket}/o?uploadType=resumable&upload_id=${id}`;
    return { status: 200, headers: { location: `http://127.0.0.1:${this.proxy.port}${path}` } };
  }

  #store(upload: {
    readonly name: string;
    readonly metadata?: Readonly<Record<string, string>>;
    readonly ifAbsent: boolean;
    readonly bytes: Buffer;
  }): Answer {
    const { name, metadata, ifAbsent, bytes } = upload;
    if (ifAbsent && this.objects.has(name)) return conditionNotMet();
    return json(describe(name, this.put(name, bytes, metadata)));
  }

  #continue(id: string, request: IncomingMessage, body: Buffer): Answer {
    const session = this.sessions.get(id);
    if (session === undefined) return failure(404, 'no such session', 'notFound');
    if (request.method === 'DELETE') {
      this.sessions.delete(id);
      return { status: 499 };
    }
    if (session.answer !== undefined) return session.answer;
    return this.#append(session, request.headers['content-range'] ?? '', body);
  }

  #append(session: Session, range: string, body: Buffer): Answer {
    if (range === `bytes */${session.size}`) return progress(session);
    const found = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(range);
    const [from = 0, to = 0, size = 0] = (found?.slice(1) ?? []).map(Number);
    if (found === null || size !== session.size || to - from + 1 !== body.length) {
      return failure(400, `content-range ${range} of ${body.length} bytes`, 'invalid');
    }
    const known = session.bytes.length;
    if (from > known) return failure(503, 'gap', 'backendError');
    const last = to + 1 === size;
    if (!last && body.length % CHUNK_UNIT !== 0) return failure(400, 'chunk size', 'invalid');
    session.bytes = Buffer.concat([session.bytes, body.subarray(known - from)]);
    if (!last) return progress(session);
    session.answer = this.#store(session);
    return session.answer;
  }
}

function progress({ bytes }: Session): Answer {
  const range = { range: `bytes=0-${bytes.length - 1}` };
  return { status: INCOMPLETE, headers: bytes.length === 0 ? {} : range };
}

function read({ bytes }: StoredObject, header: string | undefined): Answer {
  const range = /^bytes=(\d+)-(\d*)$/.exec(header ?? '');
  if (range === null) return { status: 200, body: bytes };
  const from = Number(range[1]);
  const to = Math.min(range[2] === '' ? Infinity : Number(range[2]), bytes.length - 1);
  if (from > to)
    return failure(416, 'Requested range not satisfiable', 'requestedRangeNotSatisfiable');
  const headers = { 'content-range': `bytes ${from}-${to}/${bytes.length}` };
  return { status: 206, headers, body: bytes.subarray(from, to + 1) };
}

/** The two parts of a `multipart/related` body. */
function split(body: Buffer, boundary: string): { resource: Resource; bytes: Buffer } {
  const delimiter = Buffer.from(`--${boundary}\r\n`);
  const second = body.indexOf(delimiter, delimiter.length);
  const resourceFrom = body.indexOf('\r\n\r\n') + 4;
  const resource = body.subarray(resourceFrom, second).toString('utf8');
  const from = body.indexOf('\r\n\r\n', second) + 4;
  const to = body.length - Buffer.byteLength(`\r\n--${boundary}--\r\n`);
  return { resource: JSON.parse(resource) as Resource, bytes: body.subarray(from, to) };
}

function describe(
  name: string,
  { bytes, metadata, timeCreated }: StoredObject,
): Readonly<Record<string, unknown>> {
  const md5Hash = createHash('md5').update(bytes).digest('base64');
  return { name, size: String(bytes.length), md5Hash, timeCreated, metadata };
}

function json(value: unknown): Answer {
  const headers = { 'content-type': 'application/json; charset=UTF-8' };
  return { status: 200, headers, body: JSON.stringify(value) };
}

function conditionNotMet(): Answer {
  return failure(
    412,
    'At least one of the pre-conditions you specified did not hold.',
    'conditionNotMet',
  );
}

function failure(code: number, message: string, reason: string): Answer {
  const error = { code, message, errors: [{ message, domain: 'global', reason }] };
  return { ...json({ error }), status: code };
}
