import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { makeSecret } from '../secrets.ts';
import { reset } from '../servers/reset.ts';
import type { Scope } from '../servers/scope.ts';
import {
  type Answer,
  escape,
  faultAnswer,
  fieldsOf,
  kept,
  md5,
  ranged,
  Refusal,
  xml,
} from './answers.ts';
import type { FakeObject, FakeRequest, FakeRules, FakeUpload } from './rules.ts';
import { readAuthorization, whyRefused } from './sigv4.ts';

const CUSTOMER_KEY = 'x-amz-server-side-encryption-customer-key';

/**
 * A strict S3 in memory: recomputes the signature, the payload's hash and Content-MD5 of every request, refuses trailers and
 * chunked uploads, keeps keys byte for byte. Its rules make it any other store.
 */
export class FakeS3 {
  readonly rules: FakeRules;
  readonly objects: Map<string, FakeObject> = new Map();
  readonly uploads: Map<string, FakeUpload> = new Map();
  readonly requests: FakeRequest[] = [];
  /** The most parts that were ever in flight together. */
  parallelParts = 0;
  /** The most requests that were ever in flight together. */
  parallelRequests = 0;
  /** Connections that were ever accepted. */
  connections = 0;
  #inFlight = 0;
  #partsInFlight = 0;
  #uploads = 0;
  #port = 0;

  private constructor(rules: Partial<FakeRules>) {
    this.rules = {
      bucket: 'testbucket',
      secrets: {
        accessKeyId: 'litestreamkey',
        secretAccessKey: makeSecret('S3 secret key', 'litestream+secret/key'),
      },
      pathPrefix: '',
      bucketHosts: [],
      pageSize: 1000,
      reverse: false,
      keepsDeleted: 'never',
      undeletable: new Map(),
      contentMd5: 'accepted',
      conditions: 'honoured',
      batches: true,
      partSizeMin: 5 * 1024 * 1024,
      partsMax: 10_000,
      parallelPartsMax: Infinity,
      equalParts: false,
      clockOffsetMs: 0,
      ...rules,
    };
  }

  static async start(scope: Scope, rules: Partial<FakeRules> = {}): Promise<FakeS3> {
    const fake = new FakeS3(rules);
    const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      fake.#serve(request, response).catch(() => {
        reset(request.socket);
      });
    });
    server.on('connection', () => {
      fake.connections += 1;
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    fake.#port = typeof address === 'object' && address !== null ? address.port : 0;
    scope.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return fake;
  }

  get port(): number {
    return this.#port;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Milliseconds since the Unix epoch by the store's clock. */
  #now(): number {
    return Date.now() + this.rules.clockOffsetMs;
  }

  /** Recorded requests by method and a pattern for the target. */
  where(method: string, target: RegExp = /^/): FakeRequest[] {
    return this.requests.filter((one) => one.method === method && target.test(one.target));
  }

  /** Stores an object as another program would. */
  put(key: string, bytes: Uint8Array, headers: Record<string, string> = {}): void {
    const etag = `"${md5(bytes).toString('hex')}"`;
    this.objects.set(key, { bytes: Buffer.from(bytes), headers, etag, modifiedAt: this.#now() });
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    this.parallelRequests = Math.max(this.parallelRequests, ++this.#inFlight);
    const isPart = /[?&]partNumber=/.test(incoming.url ?? '');
    if (isPart) this.parallelParts = Math.max(this.parallelParts, ++this.#partsInFlight);
    try {
      for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
      const request = this.#read(incoming, Buffer.concat(chunks));
      this.requests.push(request);
      const fault = await this.rules.fault?.(request);
      if (fault === 'reset') {
        reset(incoming.socket);
        return;
      }
      const answer = fault === undefined ? this.#answer(request) : faultAnswer(fault);
      request.status = answer.status;
      const { headers = {}, body = '' } = answer;
      const length = headers['content-length'] ?? String(Buffer.byteLength(body));
      response.writeHead(answer.status, {
        'x-amz-request-id': String(this.requests.length),
        date: new Date(this.#now()).toUTCString(),
        ...(answer.status !== 204 && { 'content-length': length }),
        ...headers,
      });
      response.end(request.method === 'HEAD' ? undefined : body);
    } finally {
      if (isPart) this.#partsInFlight--;
      this.#inFlight--;
    }
  }

  #read(incoming: IncomingMessage, body: Buffer): FakeRequest {
    const target = (incoming.url ?? '').replace(/^http:\/\/[^/]*/, '');
    const [path = '', query = ''] = target.split(/\?(.*)/s, 2);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(incoming.headers)) {
      headers[name] = Array.isArray(value) ? value.join(', ') : (value ?? '');
    }
    return {
      method: incoming.method ?? '',
      target,
      path,
      query: Object.fromEntries(
        query
          .split('&')
          .filter((pair) => pair !== '')
          .map((pair) => pair.split('=', 2).map((part) => decodeURIComponent(part))),
      ) as Record<string, string>,
      headers,
      body,
      key: this.#keyOf(path, headers['host'] ?? ''),
      region: readAuthorization(headers)?.region ?? '',
      status: 0,
    };
  }

  #keyOf(path: string, host: string): string | undefined {
    const { bucket, bucketHosts, pathPrefix } = this.rules;
    const name = host.replace(/:\d+$/, '');
    const decoded = decodeURIComponent(path);
    if (name.startsWith(`${bucket}.`) || bucketHosts.includes(name)) {
      const key = decoded.slice(pathPrefix.length + 1);
      return key === '' ? undefined : key;
    }
    const start = `${pathPrefix}/${bucket}`;
    if (decoded === start) return undefined;
    if (!decoded.startsWith(`${start}/`)) return '\0';
    return decoded.slice(start.length + 1);
  }

  #answer(request: FakeRequest): Answer {
    try {
      this.#check(request);
      return request.key === undefined ? this.#onBucket(request) : this.#onObject(request);
    } catch (error) {
      if (error instanceof Refusal) return faultAnswer(error);
      throw error;
    }
  }

  #check(request: FakeRequest): void {
    const { secrets, region } = this.rules;
    const { headers, body } = request;
    const [, query = ''] = request.target.split(/\?(.*)/s, 2);
    const now = this.#now();
    const refused = whyRefused({ ...request, query }, secrets, { now, region });
    if (refused !== undefined) {
      const status = /Malformed|Mismatch$|InvalidToken/.test(refused) ? 400 : 403;
      throw new Refusal(status, refused);
    }
    const encoded = headers['content-encoding'] ?? headers['x-amz-trailer'];
    if (encoded !== undefined) throw new Refusal(400, 'InvalidArgument', 'aws-chunked');
    if (/^(?:PUT|POST)$/.test(request.method) && headers['content-length'] === undefined) {
      throw new Refusal(411, 'MissingContentLength');
    }
    const digest = headers['content-md5'];
    if (digest !== undefined && digest !== md5(body).toString('base64')) {
      throw new Refusal(400, 'BadDigest');
    }
    if (request.key === '\0') throw new Refusal(404, 'NoSuchBucket');
  }

  #onBucket(request: FakeRequest): Answer {
    const { method, query } = request;
    if (method === 'GET' && query['list-type'] === '2') return this.#list(query);
    if (method === 'GET' && query['uploads'] !== undefined) return this.#listUploads();
    if (method === 'POST' && query['delete'] !== undefined) return this.#deleteBatch(request);
    if (method === 'GET' && query['location'] !== undefined) {
      const region = this.rules.region ?? '';
      return xml(`<LocationConstraint>${region}</LocationConstraint>`);
    }
    if (method === 'HEAD') {
      return { status: 200, headers: { 'x-amz-bucket-region': this.rules.region ?? '' } };
    }
    throw new Refusal(405, 'MethodNotAllowed');
  }

  #list(query: FakeRequest['query']): Answer {
    const { pageSize, reverse } = this.rules;
    const prefix = query['prefix'] ?? '';
    const names = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix))
      .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    if (reverse) names.reverse();
    const token = query['continuation-token'];
    const from = token === undefined ? 0 : names.indexOf(token) + 1;
    const page = names.slice(from, from + pageSize);
    const more = names.length > from + pageSize;
    const items = page.map((key) => {
      const object = this.objects.get(key);
      const at = new Date(object?.modifiedAt ?? 0).toISOString();
      return `<Contents><Key>${escape(key)}</Key><LastModified>${at}</LastModified><Size>${object?.bytes.length ?? 0}</Size></Contents>`;
    });
    const next = more
      ? `<NextContinuationToken>${escape(page.at(-1) ?? '')}</NextContinuationToken>`
      : '';
    return xml(
      `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>${more}</IsTruncated>${next}${items.join('')}</ListBucketResult>`,
    );
  }

  #listUploads(): Answer {
    const items = [...this.uploads].map(
      ([id, { key, initiatedAt }]) =>
        `<Upload><Key>${escape(key)}</Key><UploadId>${id}</UploadId><Initiated>${new Date(initiatedAt).toISOString()}</Initiated></Upload>`,
    );
    return xml(`<ListMultipartUploadsResult>${items.join('')}</ListMultipartUploadsResult>`);
  }

  #deleteBatch({ headers, body }: FakeRequest): Answer {
    const { contentMd5, batches, keepsDeleted, undeletable } = this.rules;
    if (!batches) throw new Refusal(501, 'NotImplemented');
    const has = headers['content-md5'] !== undefined;
    if (contentMd5 === 'required' && !has) throw new Refusal(400, 'InvalidRequest', 'Content-MD5');
    if (contentMd5 === 'refused' && has) throw new Refusal(400, 'InvalidArgument', 'Content-MD5');
    const text = body.toString();
    const keys = fieldsOf(text, 'Key');
    if (keys.length > 1000) throw new Refusal(400, 'MalformedXML');
    const quiet = text.includes('<Quiet>true</Quiet>');
    const results = keys.map((key) => {
      const code = undeletable.get(key);
      if (code !== undefined) {
        return `<Error><Key>${escape(key)}</Key><Code>${code}</Code><Message>no: ${code}</Message></Error>`;
      }
      if (keepsDeleted === 'never') this.objects.delete(key);
      return quiet ? '' : `<Deleted><Key>${escape(key)}</Key></Deleted>`;
    });
    return xml(`<DeleteResult>${results.join('')}</DeleteResult>`);
  }

  #onObject(request: FakeRequest): Answer {
    const { method, query, key = '' } = request;
    if (query['uploads'] !== undefined && method === 'POST') return this.#create(request);
    if (query['uploadId'] !== undefined) return this.#onUpload(request);
    if (method === 'PUT') return this.#put(request);
    if (method === 'DELETE') return this.#delete(request);
    const object = this.objects.get(key);
    if (object === undefined) throw new Refusal(404, 'NoSuchKey');
    this.#checkCustomerKey(request);
    const headers = {
      ...object.headers,
      etag: object.etag,
      'last-modified': new Date(object.modifiedAt).toUTCString(),
    };
    if (method === 'HEAD') {
      const length = String(object.bytes.length);
      return { status: 200, headers: { ...headers, 'content-length': length } };
    }
    return ranged(request.headers['range'], object.bytes, headers);
  }

  #checkCustomerKey({ headers }: FakeRequest): void {
    const { customerKey } = this.rules;
    if (customerKey === undefined) return;
    if (headers[CUSTOMER_KEY] !== customerKey) throw new Refusal(400, 'InvalidRequest', 'SSE-C');
    const digest = md5(Buffer.from(customerKey, 'base64')).toString('base64');
    if (headers[`${CUSTOMER_KEY}-md5`] !== digest) throw new Refusal(400, 'InvalidDigest');
  }

  /** @throws Refusal */
  #checkConditions({ headers, key = '' }: FakeRequest): void {
    const match = headers['if-match'];
    const noneMatch = headers['if-none-match'];
    if (match === undefined && noneMatch === undefined) return;
    if (this.rules.conditions === 'refused') throw new Refusal(501, 'NotImplemented');
    if (this.rules.conditions === 'ignored') return;
    const object = this.objects.get(key);
    if (match !== undefined && object === undefined) throw new Refusal(404, 'NoSuchKey');
    const wrong = match !== undefined && object?.etag !== match;
    if (wrong || (noneMatch === '*' && object !== undefined)) {
      throw new Refusal(412, 'PreconditionFailed');
    }
  }

  #put(request: FakeRequest): Answer {
    this.#checkCustomerKey(request);
    this.#checkConditions(request);
    this.put(request.key ?? '', request.body, kept(request.headers));
    return { status: 200, headers: { etag: this.objects.get(request.key ?? '')?.etag ?? '' } };
  }

  #delete(request: FakeRequest): Answer {
    this.#checkConditions(request);
    if (this.rules.keepsDeleted !== 'always') this.objects.delete(request.key ?? '');
    return { status: 204 };
  }

  #create(request: FakeRequest): Answer {
    this.#checkCustomerKey(request);
    const id = `u/${++this.#uploads}+x`;
    this.uploads.set(id, {
      key: request.key ?? '',
      headers: kept(request.headers),
      parts: new Map(),
      initiatedAt: this.#now(),
    });
    return xml(
      `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
    );
  }

  #onUpload(request: FakeRequest): Answer {
    const id = request.query['uploadId'] ?? '';
    const upload = this.uploads.get(id);
    if (upload === undefined || upload.key !== request.key) throw new Refusal(404, 'NoSuchUpload');
    if (request.method === 'DELETE') {
      this.uploads.delete(id);
      return { status: 204 };
    }
    if (request.method === 'POST') return this.#complete(request, id, upload);
    this.#checkCustomerKey(request);
    const number = Number(request.query['partNumber']);
    if (number > this.rules.partsMax) throw new Refusal(400, 'InvalidArgument', 'part number');
    if (this.#partsInFlight > this.rules.parallelPartsMax) throw new Refusal(500, 'InternalError');
    upload.parts.set(number, request.body);
    return { status: 200, headers: { etag: `"${md5(request.body).toString('hex')}"` } };
  }

  #complete(request: FakeRequest, id: string, upload: FakeUpload): Answer {
    this.#checkConditions(request);
    const text = request.body.toString();
    const numbers = fieldsOf(text, 'PartNumber').map(Number);
    const etags = fieldsOf(text, 'ETag');
    const parts = numbers.map((number, index) => {
      const part = upload.parts.get(number);
      const etag = part === undefined ? '' : `"${md5(part).toString('hex')}"`;
      if (part === undefined || etag !== etags[index]) throw new Refusal(400, 'InvalidPart');
      return part;
    });
    const { partSizeMin, equalParts } = this.rules;
    const full = parts.slice(0, -1);
    if (full.some((part) => part.length < partSizeMin)) throw new Refusal(400, 'EntityTooSmall');
    const [first] = full;
    const last = parts.at(-1)?.length ?? 0;
    const equal =
      full.every((part) => part.length === first?.length) && last <= (first?.length ?? last);
    if (equalParts && !equal) throw new Refusal(400, 'InvalidPart', 'parts of different sizes');
    const bytes = Buffer.concat(parts);
    const digest = md5(Buffer.concat(parts.map((part) => md5(part)))).toString('hex');
    const etag = `"${digest}-${parts.length}"`;
    const { key, headers } = upload;
    this.objects.set(key, { bytes, headers, etag, modifiedAt: this.#now() });
    this.uploads.delete(id);
    return xml(
      `<CompleteMultipartUploadResult><ETag>${escape(etag)}</ETag></CompleteMultipartUploadResult>`,
    );
  }
}
