import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { makeSecret } from '../secrets.ts';
import { FaultProxy } from './fault-proxy.ts';
import { pairsOf, parseDate, signatureOf, type WireRequest } from './oss-signature.ts';
import type { Scope } from './scope.ts';

const PAGE_SIZE_MAX = 1000;
const DELETES_MAX = 1000;
const PARTS_MAX = 10_000;
const PART_SIZE_MIN = 100 * 1024;
const CLOCK_SKEW_MS_MAX = 15 * 60_000;

export interface OssServerOptions {
  /** Token that has to come with the keys. Default: none may come. */
  readonly token?: string;
  /** Keys per page of a listing. */
  readonly pageSize?: number;
}

interface StoredObject {
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, string>>;
  readonly modifiedAt: number;
}

interface OpenUpload {
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly parts: Map<number, Buffer>;
  readonly initiatedAt: number;
}

interface Query extends ReadonlyMap<string, string> {}

interface Asked {
  readonly method: string;
  readonly key: string;
  readonly query: Query;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
}

/**
 * Alibaba Cloud OSS in memory, as far as a replica needs it: there is no server of it outside the cloud. It recomputes version 4 of
 * the signature of every request from what came over the wire, by the published rules and with code of its own, and refuses
 * what does not match. It proves that requests are signed and shaped as documented, not that the real service takes them.
 */
export class OssServer {
  readonly bucket: string = 'testbucket';
  readonly region: string = 'cn-hangzhou';
  readonly accessKeyId: string = 'test-key-id';
  readonly accessKeySecret: string = makeSecret('OSS key secret', 'test/secret+key');
  readonly objects: Map<string, StoredObject> = new Map();
  readonly uploads: Map<string, OpenUpload> = new Map();
  /** Says that it has deleted, and does not. */
  keepsDeleted = false;
  /** Leaves these keys out of its answers to deletes, and keeps them. */
  readonly undeletable: Set<string> = new Set();
  /** In front of the server; clients use its port. */
  proxy!: FaultProxy;
  readonly #options: OssServerOptions;
  readonly #server = createServer((request, response) => {
    this.#serve(request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined);
    });
  });
  #port = 0;
  #uploadCount = 0;

  private constructor(options: OssServerOptions) {
    this.#options = options;
  }

  static async start(scope: Scope, options: OssServerOptions = {}): Promise<OssServer> {
    const store = new OssServer(options);
    await store.start();
    scope.after(() => store.kill());
    store.proxy = await FaultProxy.start(scope, store.#port);
    return store;
  }

  /** Listens again, on the same port with the same objects. */
  async start(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.listen(this.#port, '127.0.0.1', resolve);
    });
    const address = this.#server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Breaks all connections and listens no more. */
  async kill(): Promise<void> {
    await new Promise((resolve) => {
      this.#server.close(resolve);
      this.#server.closeAllConnections();
    });
  }

  /** Accepts everything and answers nothing. */
  pause(): void {
    this.proxy.fault = () => ({ kind: 'silence' });
  }

  resume(): void {
    this.proxy.fault = undefined;
  }

  /** `http://127.0.0.1:PORT`: an address, so that clients name the bucket in the path. */
  get endpoint(): string {
    return this.proxy.url;
  }

  put(key: string, bytes: Uint8Array, headers: Readonly<Record<string, string>> = {}): void {
    this.objects.set(key, { bytes: Buffer.from(bytes), headers, modifiedAt: Date.now() });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    const { status, headers = {}, body: content = '' } = this.#answer(request, body);
    const bytes = Buffer.from(content);
    const length = headers['content-length'] ?? String(bytes.length);
    response.writeHead(status, { ...headers, 'content-length': length, 'x-oss-request-id': '1' });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  }

  #answer(request: IncomingMessage, body: Buffer): Answer {
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    );
    const [rawPath = '', rawQuery = ''] = (request.url ?? '').split('?', 2);
    const virtual = (headers['host'] ?? '').startsWith(`${this.bucket}.`);
    const resource = virtual ? `/${this.bucket}${rawPath}` : rawPath;
    const wire = { method: request.method ?? '', resource, rawQuery, headers };
    const refused = this.#refuse(wire);
    if (refused !== undefined) return refused;
    const [, bucket = '', ...rest] = resource.split('/');
    if (decodeURIComponent(bucket) !== this.bucket) return failure(404, 'NoSuchBucket');
    const md5 = headers['content-md5'];
    if (md5 !== undefined && md5 !== createHash('md5').update(body).digest('base64')) {
      return failure(400, 'InvalidDigest');
    }
    const key = decodeURIComponent(rest.join('/'));
    const query = new Map(pairsOf(rawQuery));
    return this.#operate({ method: wire.method, key, query, headers, body });
  }

  /** Why a request is not served. */
  #refuse(wire: WireRequest): Answer | undefined {
    const { headers } = wire;
    const found =
      /^OSS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/oss\/aliyun_v4_request,Signature=([0-9a-f]{64})$/.exec(
        headers['authorization'] ?? '',
      );
    if (found === null) return failure(403, 'AccessDenied', 'no signature of version 4');
    const [, id, day = '', region = '', signature] = found;
    if (id !== this.accessKeyId) return failure(403, 'InvalidAccessKeyId');
    if (region !== this.region) return failure(403, 'InvalidArgument', `region ${region}`);
    const date = headers['x-oss-date'] ?? '';
    const skew = Math.abs(parseDate(date) - Date.now());
    if (!date.startsWith(day) || !(skew < CLOCK_SKEW_MS_MAX)) {
      return failure(403, 'RequestTimeTooSkewed');
    }
    if (headers['x-oss-security-token'] !== this.#options.token) {
      return failure(403, 'InvalidSecurityToken');
    }
    if (wire.method === 'PUT' && headers['content-length'] === undefined) {
      return failure(411, 'MissingContentLength');
    }
    const scope = `${day}/${region}/oss/aliyun_v4_request`;
    const expected = signatureOf(wire, { date, scope, secret: this.accessKeySecret });
    return expected === signature ? undefined : failure(403, 'SignatureDoesNotMatch');
  }

  #operate(asked: Asked): Answer {
    const { method, key, query } = asked;
    if (key === '' && method === 'POST' && query.has('delete')) return this.#deleteMany(asked);
    if (key === '' && method === 'GET' && query.has('uploads')) return this.#listUploads(query);
    if (key === '' && method === 'GET') return this.#list(query);
    if (method === 'POST' && query.has('uploads')) return this.#begin(asked);
    if (query.has('uploadId')) return this.#part(asked);
    if (method === 'PUT') return this.#put(asked);
    if (method === 'GET' || method === 'HEAD') return this.#get(asked);
    return failure(405, 'MethodNotAllowed');
  }

  #list(query: Query): Answer {
    const prefix = query.get('prefix') ?? '';
    const token = query.get('continuation-token');
    const after = token === undefined ? (query.get('start-after') ?? '') : fromToken(token);
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix) && key > after)
      .toSorted();
    const asked = Number(query.get('max-keys') ?? '100');
    const limit = Math.min(asked, this.#options.pageSize ?? PAGE_SIZE_MAX, PAGE_SIZE_MAX);
    const page = keys.slice(0, limit);
    const encoded = query.get('encoding-type') === 'url';
    const shown = (text: string): string => (encoded ? encodeURIComponent(text) : escape(text));
    const entries = page.map((key) => {
      const { bytes = Buffer.alloc(0), modifiedAt = 0 } = this.objects.get(key) ?? {};
      const time = new Date(modifiedAt).toISOString().replace(/\d{3}Z$/, '000Z');
      return `<Contents><Key>${shown(key)}</Key><LastModified>${time}</LastModified><Size>${bytes.length}</Size></Contents>`;
    });
    const more = keys.length > limit;
    const next = more
      ? `<NextContinuationToken>${toToken(page.at(-1) ?? '')}</NextContinuationToken>`
      : '';
    return xml(
      `<ListBucketResult>${encoded ? '<EncodingType>url</EncodingType>' : ''}<Prefix>${shown(prefix)}</Prefix>` +
        `<IsTruncated>${more}</IsTruncated>${next}${entries.join('')}</ListBucketResult>`,
    );
  }

  #deleteMany({ body, headers }: Asked): Answer {
    if (headers['content-md5'] === undefined) return failure(400, 'MissingArgument', 'Content-MD5');
    const keys = [...body.toString('utf8').matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, text = '']) =>
      unescape(text),
    );
    if (keys.length === 0 || keys.length > DELETES_MAX) return failure(400, 'MalformedXML');
    const deleted = keys.filter((key) => !this.undeletable.has(key));
    if (!this.keepsDeleted) for (const key of deleted) this.objects.delete(key);
    const items = deleted.map((key) => `<Deleted><Key>${escape(key)}</Key></Deleted>`);
    return xml(`<DeleteResult>${items.join('')}</DeleteResult>`);
  }

  #put({ key, headers, body }: Asked): Answer {
    if (this.#isForbidden(key, headers)) return failure(409, 'FileAlreadyExists');
    this.objects.set(key, { bytes: body, headers: kept(headers), modifiedAt: Date.now() });
    return { status: 200, headers: { etag: etagOf(body) } };
  }

  #isForbidden(key: string, headers: Readonly<Record<string, string>>): boolean {
    return headers['x-oss-forbid-overwrite'] === 'true' && this.objects.has(key);
  }

  #get({ key, headers }: Asked): Answer {
    const object = this.objects.get(key);
    if (object === undefined) return failure(404, 'NoSuchKey');
    const { bytes } = object;
    const shared = { ...object.headers, etag: etagOf(bytes) };
    const range = /^bytes=(\d+)-(\d*)$/.exec(headers['range'] ?? '');
    if (range === null) {
      return {
        status: 200,
        headers: { ...shared, 'content-length': String(bytes.length) },
        body: bytes,
      };
    }
    const from = Number(range[1]);
    const to = Math.min(range[2] === '' ? Infinity : Number(range[2]), bytes.length - 1);
    if (from > to) {
      // As the service does it, unless it is asked to follow the standard.
      if (headers['x-oss-range-behavior'] === 'standard') return failure(416, 'InvalidRange');
      return { status: 200, headers: shared, body: bytes };
    }
    const part = bytes.subarray(from, to + 1);
    const where = { 'content-range': `bytes ${from}-${to}/${bytes.length}` };
    return { status: 206, headers: { ...shared, ...where }, body: part };
  }

  #begin({ key, headers }: Asked): Answer {
    if (this.#isForbidden(key, headers)) return failure(409, 'FileAlreadyExists');
    this.#uploadCount += 1;
    const id = `upload-${this.#uploadCount}`;
    const upload = { key, headers: kept(headers), parts: new Map(), initiatedAt: Date.now() };
    this.uploads.set(id, upload);
    return xml(
      `<InitiateMultipartUploadResult><Key>${escape(key)}</Key><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
    );
  }

  #part({ method, key, query, headers, body }: Asked): Answer {
    const id = query.get('uploadId') ?? '';
    const upload = this.uploads.get(id);
    if (upload?.key !== key) return failure(404, 'NoSuchUpload');
    if (method === 'DELETE') {
      this.uploads.delete(id);
      return { status: 204 };
    }
    if (method === 'PUT') {
      const number = Number(query.get('partNumber'));
      if (!(number >= 1 && number <= PARTS_MAX)) return failure(400, 'InvalidArgument');
      upload.parts.set(number, body);
      return { status: 200, headers: { etag: etagOf(body) } };
    }
    if (this.#isForbidden(key, headers)) return failure(409, 'FileAlreadyExists');
    return this.#complete(id, upload, body.toString('utf8'));
  }

  #complete(id: string, upload: OpenUpload, body: string): Answer {
    const named = [...body.matchAll(/<PartNumber>(\d+)<\/PartNumber><ETag>([^<]*)<\/ETag>/g)].map(
      ([, number, etag = '']) => ({
        part: upload.parts.get(Number(number)),
        etag: unescape(etag),
      }),
    );
    const parts: Buffer[] = [];
    for (const { part, etag } of named) {
      if (part === undefined || etagOf(part) !== etag) return failure(400, 'InvalidPart');
      parts.push(part);
    }
    if (parts.slice(0, -1).some((part) => part.length < PART_SIZE_MIN)) {
      return failure(400, 'EntityTooSmall');
    }
    const { key, headers } = upload;
    this.objects.set(key, { bytes: Buffer.concat(parts), headers, modifiedAt: Date.now() });
    this.uploads.delete(id);
    return xml(
      `<CompleteMultipartUploadResult><Key>${escape(key)}</Key><ETag>"${id}"</ETag></CompleteMultipartUploadResult>`,
    );
  }

  #listUploads(query: Query): Answer {
    const prefix = query.get('prefix') ?? '';
    const entries = [...this.uploads]
      .filter(([, { key }]) => key.startsWith(prefix))
      .map(([id, { key, initiatedAt }]) => {
        const time = new Date(initiatedAt).toISOString();
        return `<Upload><Key>${escape(key)}</Key><UploadId>${id}</UploadId><Initiated>${time}</Initiated></Upload>`;
      });
    return xml(`<ListMultipartUploadsResult>${entries.join('')}</ListMultipartUploadsResult>`);
  }
}

function toToken(key: string): string {
  return Buffer.from(key).toString('base64url');
}

function fromToken(token: string): string {
  return Buffer.from(token, 'base64url').toString();
}

function etagOf(bytes: Buffer): string {
  return `"${createHash('md5').update(bytes).digest('hex').toUpperCase()}"`;
}

/** What an object keeps of the headers with which it came. */
function kept(headers: Readonly<Record<string, string>>): Record<string, string> {
  const own = Object.entries(headers).filter(
    ([name]) => name.startsWith('x-oss-meta-') || name === 'content-type',
  );
  return Object.fromEntries(own);
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function unescape(text: string): string {
  return text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replaceAll('&amp;', '&');
}

function xml(content: string): Answer {
  return {
    status: 200,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0" encoding="UTF-8"?>\n${content}`,
  };
}

function failure(status: number, code: string, message: string = code): Answer {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${escape(message)}</Message></Error>`;
  return { status, headers: { 'content-type': 'application/xml' }, body };
}
