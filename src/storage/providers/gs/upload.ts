import { createHash, randomUUID } from 'node:crypto';
import { present } from '../../../lib/assert.ts';
import { isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import { formatRfc3339 } from '../../../lib/time-text.ts';
import type { WriteOptions, WriteSource } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import { type HttpResponse, type HttpTarget, withRetries } from '../../http/index.ts';
import { type UploadPart, uploadParts } from '../../upload-parts.ts';
import { encodeName, type GsApi, type GsCall, named, parseJson, TIMESTAMP_KEY } from './api.ts';
import { targetOf } from './fetch.ts';
import { child, textOf } from './json.ts';

/** Larger files go up in pieces of this size, each kept until the store has it. A multiple of 256 KiB. */
export const CHUNK_SIZE: number = 8 * 1024 * 1024;
const CONTENT_TYPE = 'application/octet-stream';
/** A session that the store has begun but not finished. */
const INCOMPLETE = 308;
const ANSWER_BYTES_MAX = 1024 * 1024;

interface Session {
  readonly target: HttpTarget;
  readonly path: string;
}

/** Stores one object: in one request if it is small, in a session of several otherwise. */
export class Upload {
  readonly #api: GsApi;
  readonly #name: string;
  readonly #signal: AbortSignal | undefined;
  readonly #ifAbsent: boolean;
  readonly #what: string;

  constructor(api: GsApi, name: string, { signal, ifAbsent }: WriteOptions) {
    this.#api = api;
    this.#name = name;
    this.#signal = signal;
    this.#ifAbsent = ifAbsent === true;
    this.#what = `gs: put object "${name}"`;
  }

  /** @returns the header's time. */
  async run(source: WriteSource): Promise<number> {
    let session: Session | undefined;
    const chunkSize = this.#api.resumes ? CHUNK_SIZE : Infinity;
    let createdAt = 0;
    const hash = createHash('md5');
    try {
      for await (const part of uploadParts(source, chunkSize, this.#signal)) {
        if (part.number === 1) {
          createdAt = headerTimestamp(part.bytes.subarray(0, LTX_HEADER_SIZE));
        }
        hash.update(part.bytes);
        if (part.number === 1 && part.last) {
          await this.#putWhole(part.bytes, createdAt, hash.digest('base64'));
          return createdAt;
        }
        session ??= await this.#begin(source.size, createdAt);
        const answer = await this.#putPart(session, part, source.size);
        if (part.last) verify(present(answer, 'answer'), hash.digest('base64'), this.#what);
      }
      return createdAt;
    } catch (error) {
      if (session !== undefined) await this.#cancel(session);
      throw error;
    }
  }

  #path(kind: 'multipart' | 'resumable'): string {
    const condition = this.#ifAbsent ? '&ifGenerationMatch=0' : '';
    return `/upload/storage/v1/b/${encodeName(this.#api.bucket)}/o?uploadType=${kind}${condition}`;
  }

  #call(call: Pick<GsCall, 'method' | 'path' | 'headers' | 'body'> & Partial<GsCall>): GsCall {
    return {
      what: this.#what,
      subject: 'bucket',
      accept: [200, 201],
      signal: this.#signal,
      ...call,
    };
  }

  #metadata(createdAt: number): Readonly<Record<string, unknown>> {
    return {
      name: this.#name,
      contentType: CONTENT_TYPE,
      metadata: { [TIMESTAMP_KEY]: formatRfc3339(createdAt) },
    };
  }

  async #putWhole(bytes: Uint8Array, createdAt: number, md5Hash: string): Promise<void> {
    const boundary = `litestream-${randomUUID()}`;
    // The store compares the content with its digest before the object appears.
    const metadata = JSON.stringify({ ...this.#metadata(createdAt), md5Hash });
    const head = Buffer.from(
      `--${boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n${metadata}\r\n` +
        `--${boundary}\r\nContent-Type: ${CONTENT_TYPE}\r\n\r\n`,
    );
    const pieces = [head, bytes, Buffer.from(`\r\n--${boundary}--\r\n`)];
    const call = this.#call({
      method: 'POST',
      path: this.#path('multipart'),
      headers: { 'content-type': `multipart/related; boundary=${boundary}` },
      body: {
        size: pieces.reduce((sum, piece) => sum + piece.length, 0),
        async *stream() {
          await Promise.resolve();
          yield* pieces;
        },
      },
    });
    verify(await this.#api.call(call, readAnswer), md5Hash, this.#what);
  }

  async #begin(size: number, createdAt: number): Promise<Session> {
    const call = this.#call({
      method: 'POST',
      path: this.#path('resumable'),
      headers: {
        'content-type': 'application/json; charset=UTF-8',
        'x-upload-content-type': CONTENT_TYPE,
        'x-upload-content-length': String(size),
      },
      body: Buffer.from(JSON.stringify(this.#metadata(createdAt))),
    });
    const location = await this.#api.call(call, async (response) => {
      await response.discard();
      return response.headers['location'] ?? '';
    });
    const url = URL.parse(location);
    if (url === null) {
      throw new LitestreamError('ERR_STORAGE', `${this.#what}: no address for the upload`);
    }
    // A session's address is a secret that works without credentials, so it goes nowhere else.
    const foreign = url.hostname.endsWith('.googleapis.com');
    return { target: foreign ? targetOf(url) : this.#api.target, path: url.pathname + url.search };
  }

  /** @returns the store's description of the object after the last part. */
  async #putPart(session: Session, part: UploadPart, size: number): Promise<unknown> {
    const sender = new PartSender(this.#api, part, (headers, body) =>
      this.#call({
        method: 'PUT',
        ...session,
        headers: { ...headers(size) },
        body,
        subject: 'object',
        authorized: false,
        accept: [200, 201, INCOMPLETE],
      }),
    );
    try {
      const options = { ...this.#api.retryOptions(this.#signal), what: `part ${part.number}` };
      return await withRetries((n) => sender.attempt(n), options);
    } catch (error) {
      // Where the session is gone, that is no missing file.
      throw named(this.#what, sessionLost(error));
    }
  }

  /** Frees what the store has kept. Nothing depends on it: sessions end after a week. */
  async #cancel({ target, path }: Session): Promise<void> {
    const call = { method: 'DELETE', target, path, authorized: false, accept: [200, 204, 499] };
    try {
      await this.#api.once(
        { ...call, what: this.#what, subject: 'object', signal: undefined },
        (response) => response.discard(),
      );
    } catch {
      // The first error matters.
    }
  }
}

type RangeHeaders = (size: number) => Readonly<Record<string, string>>;

/** Brings one part up, however many requests that takes. */
class PartSender {
  readonly #api: GsApi;
  readonly #part: UploadPart;
  readonly #call: (headers: RangeHeaders, body: Uint8Array) => GsCall;

  constructor(
    api: GsApi,
    part: UploadPart,
    call: (headers: RangeHeaders, body: Uint8Array) => GsCall,
  ) {
    this.#api = api;
    this.#part = part;
    this.#call = call;
  }

  async attempt(n: number): Promise<unknown> {
    const { offset, bytes, last } = this.#part;
    let from = offset;
    if (n > 1) {
      const state = await this.#exchange((size) => ({ 'content-range': `bytes */${size}` }));
      if (state.status !== INCOMPLETE) return this.#ended(state.answer);
      from = Math.max(offset, state.received);
    }
    const end = offset + bytes.length;
    if (from < end) {
      const range: RangeHeaders = (size) => ({
        'content-range': `bytes ${from}-${end - 1}/${size}`,
      });
      const state = await this.#exchange(range, bytes.subarray(from - offset));
      if (state.status !== INCOMPLETE) return this.#ended(state.answer);
      from = state.received;
    }
    if (from === end && !last) return undefined;
    throw new LitestreamError(
      'ERR_STORAGE_TEMPORARY',
      `store has ${from} bytes of the upload, expected ${end}`,
      { retryable: true, details: { expected: end, found: from } },
    );
  }

  /** The store has made an object of what it has. */
  #ended(answer: unknown): unknown {
    if (this.#part.last) return answer;
    throw new LitestreamError('ERR_STORAGE', 'the store ended the upload before its last part');
  }

  #exchange(
    headers: RangeHeaders,
    body: Uint8Array = new Uint8Array(),
  ): Promise<{ status: number; received: number; answer: unknown }> {
    return this.#api.once(this.#call(headers, body), async (response) => {
      const { status } = response;
      if (status !== INCOMPLETE) return { status, received: 0, answer: await readAnswer(response) };
      await response.discard();
      const found = /^bytes=0-(\d+)$/.exec(response.headers['range'] ?? '');
      return { status, received: found === null ? 0 : Number(found[1]) + 1, answer: undefined };
    });
  }
}

function sessionLost(error: unknown): unknown {
  if (!isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND')) return error;
  return new LitestreamError('ERR_STORAGE_TEMPORARY', `upload session is gone: ${error.message}`, {
    cause: error,
    retryable: true,
    details: error.details,
  });
}

async function readAnswer(response: HttpResponse): Promise<unknown> {
  return parseJson(await response.text(ANSWER_BYTES_MAX));
}

/** Compares what the store says it has with what was sent. */
function verify(answer: unknown, md5Hash: string, what: string): void {
  const found = textOf(child(answer, 'md5Hash'));
  if (found === '' || found === md5Hash) return;
  throw new LitestreamError(
    'ERR_STORAGE_TEMPORARY',
    `${what}: the store has other bytes than were sent (md5 ${found}, expected ${md5Hash})`,
    { retryable: true, details: { field: 'md5Hash', expected: md5Hash, found } },
  );
}
