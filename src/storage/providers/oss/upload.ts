import { LitestreamError } from '../../../lib/errors.ts';
import { formatRfc3339 } from '../../../lib/time-text.ts';
import type { WriteOptions, WriteSource } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import type { HttpResponse } from '../../http/index.ts';
import { sendParts } from '../../parts-in-flight.ts';
import { type UploadPart, uploadParts } from '../../upload-parts.ts';
import { readCompleted, readUploadId } from './answers.ts';
import { isUploadGone, md5Base64, type OssApi, type OssCall } from './api.ts';

const MIB = 1024 * 1024;
const PART_SIZE = 5 * MIB;
/** The service refuses smaller ones. */
const PART_SIZE_MIN = 100 * 1024;
/** The service takes 10,000. */
const PARTS_MAX = 9000;
const CONCURRENCY = 3;
/** Parts under way hold no more memory than this together, unless a single one does. */
const MEMORY_MAX = 64 * MIB;
const CONTENT_TYPE = 'application/octet-stream';

/** User metadata that holds an LTX file's time. */
export const TIMESTAMP_HEADER = 'x-oss-meta-litestream-timestamp';

/** Bytes per part, so that a file of this size fits into the number of parts that the service takes. */
export function partSizeFor(size: number, configured: number = PART_SIZE): number {
  return Math.max(PART_SIZE_MIN, configured, Math.ceil(size / PARTS_MAX));
}

/** Parts under way at the same time. */
export function concurrencyFor(partSize: number, configured: number = CONCURRENCY): number {
  return Math.max(1, Math.min(configured, Math.floor(MEMORY_MAX / partSize)));
}

export interface UploadSettings {
  readonly partSizeBytes?: number | undefined;
  readonly concurrency?: number | undefined;
}

interface FinishedPart {
  readonly number: number;
  readonly etag: string;
}

/** Stores one object: in one request if it fits into one part, in parts otherwise. */
export class Upload {
  readonly #api: OssApi;
  readonly #key: string;
  readonly #options: WriteOptions;
  readonly #settings: UploadSettings;
  readonly #what: string;
  #createdAt = 0;
  #inParts = false;

  constructor(api: OssApi, key: string, options: WriteOptions, settings: UploadSettings) {
    this.#api = api;
    this.#key = key;
    this.#options = options;
    this.#settings = settings;
    this.#what = `oss: upload to ${key}`;
  }

  /** True once the upload has begun in parts. */
  get inParts(): boolean {
    return this.#inParts;
  }

  /** @returns the header's time. */
  async run(source: WriteSource): Promise<number> {
    const { signal } = this.#options;
    const partSize = partSizeFor(source.size, this.#settings.partSizeBytes);
    const parts = uploadParts(source, partSize, signal);
    const first = await parts.next();
    if (first.done === true) throw new LitestreamError('ERR_ASSERTION', 'an upload has a part');
    const { bytes, last } = first.value;
    this.#createdAt = headerTimestamp(bytes.subarray(0, LTX_HEADER_SIZE));
    if (last) await this.#putWhole(bytes);
    else await this.#putParts(withFirst(first.value, parts), source.size, partSize);
    return this.#createdAt;
  }

  #call(call: Pick<OssCall, 'method'> & Partial<OssCall>): OssCall {
    return { key: this.#key, signal: this.#options.signal, what: this.#what, ...call };
  }

  get #condition(): Readonly<Record<string, string>> {
    return this.#options.ifAbsent === true ? { 'x-oss-forbid-overwrite': 'true' } : {};
  }

  get #metadata(): Readonly<Record<string, string>> {
    return {
      'content-type': CONTENT_TYPE,
      [TIMESTAMP_HEADER]: formatRfc3339(this.#createdAt),
      ...this.#condition,
    };
  }

  async #putWhole(body: Uint8Array): Promise<void> {
    const headers = { ...this.#metadata, 'content-md5': md5Base64(body) };
    await this.#api.call(this.#call({ method: 'PUT', headers, body }), requireEtag);
  }

  async #putParts(parts: AsyncIterable<UploadPart>, size: number, partSize: number): Promise<void> {
    this.#inParts = true;
    const begin = this.#call({ method: 'POST', query: { uploads: '' }, headers: this.#metadata });
    const uploadId = await this.#api.call(begin, async (response) =>
      readUploadId(await response.text()),
    );
    try {
      const limit = concurrencyFor(partSize, this.#settings.concurrency);
      const { signal } = this.#options;
      const send = (part: UploadPart, stop: AbortSignal): Promise<FinishedPart> =>
        this.#sendPart(part, uploadId, stop);
      const finished = await sendParts(parts, { limit, signal, send });
      await this.#complete(uploadId, finished, size);
    } catch (error) {
      await this.#abort(uploadId);
      throw isUploadGone(error) ? uploadGone(error) : error;
    }
  }

  async #sendPart(
    { number, bytes }: UploadPart,
    uploadId: string,
    signal: AbortSignal,
  ): Promise<FinishedPart> {
    const call = this.#call({
      method: 'PUT',
      query: { partNumber: String(number), uploadId },
      headers: { 'content-md5': md5Base64(bytes) },
      body: bytes,
      signal,
    });
    return { number, etag: await this.#api.call(call, requireEtag) };
  }

  async #complete(uploadId: string, parts: readonly FinishedPart[], size: number): Promise<void> {
    const items = parts
      .map(
        ({ number, etag }) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`,
      )
      .join('');
    const body = Buffer.from(`<CompleteMultipartUpload>${items}</CompleteMultipartUpload>`);
    let attempts = 0;
    const call = this.#call({
      method: 'POST',
      query: { uploadId },
      headers: { 'content-type': 'application/xml', ...this.#condition },
      body,
    });
    const onAttempt = (): void => {
      attempts += 1;
    };
    try {
      const read = async (response: HttpResponse): Promise<void> =>
        readCompleted(await response.text());
      await this.#api.call(call, read, onAttempt);
    } catch (error) {
      // The answer to an earlier attempt may be what was lost.
      if (attempts > 1 && isUploadGone(error) && (await this.#isStored(size))) return;
      throw error;
    }
  }

  /** True if the object is there with our size and time. */
  async #isStored(size: number): Promise<boolean> {
    const call = this.#call({ method: 'HEAD', accept: [200, 404] });
    const { status, headers } = await this.#api.call(call, async (response) => {
      await response.discard();
      return response;
    });
    return (
      status === 200 &&
      headers['content-length'] === String(size) &&
      headers[TIMESTAMP_HEADER] === formatRfc3339(this.#createdAt)
    );
  }

  /** Frees what the store has kept, for which it charges. */
  async #abort(uploadId: string): Promise<void> {
    const call = { method: 'DELETE', query: { uploadId }, accept: [200, 204], signal: undefined };
    try {
      await this.#api.call(this.#call(call), (response) => response.discard());
    } catch {
      // The first error matters; leftovers go with the next large upload.
    }
  }
}

async function* withFirst(
  first: UploadPart,
  rest: AsyncIterable<UploadPart>,
): AsyncGenerator<UploadPart, void, undefined> {
  yield first;
  yield* rest;
}

/** @throws LitestreamError if the store does not say what it has stored. */
async function requireEtag(response: HttpResponse): Promise<string> {
  await response.discard();
  const etag = response.headers['etag'] ?? '';
  if (etag !== '') return etag;
  throw new LitestreamError('ERR_STORAGE', 'oss: upload failed: no ETag returned');
}

function uploadGone(cause: unknown): LitestreamError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new LitestreamError('ERR_STORAGE_TEMPORARY', message, { cause, retryable: true });
}
