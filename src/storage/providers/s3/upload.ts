import { type Clock, isAborted } from '../../../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import { formatRfc3339 } from '../../../lib/time-text.ts';
import type { Logger } from '../../../telemetry/index.ts';
import type { WriteSource } from '../../contract.ts';
import { sendParts } from '../../parts-in-flight.ts';
import { escapeXml } from '../../xml/index.ts';
import {
  type OpenUpload,
  readCompleted,
  readError,
  readOpenUploads,
  readUploadId,
} from './answers.ts';
import { type S3Answer, type S3Api } from './api.ts';
import { bytesBody, type RequestBody } from './body.ts';
import { answerError, providerCode } from './errors.ts';
import type { SseHeaders } from './sse.ts';
import { openUploadSource, type UploadSource } from './upload-source.ts';

/** The least size of a part that services accept. */
export const PART_SIZE_MIN: number = 5 * 1024 * 1024;
/** Below the 10,000 that services allow. */
const PARTS_MAX = 9000;
/** Of parts that come through memory, all in flight together. */
const MEMORY_BYTES_MAX = 64 * 1024 * 1024;
const CLEAN_UP_MS_MAX = 15_000;
/** An upload that is older than this belongs to nobody. */
const ABANDONED_AFTER_MS = 24 * 3600 * 1000;

export interface UploaderOptions {
  readonly api: S3Api;
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Configured, in bytes. */
  readonly partSize: number;
  /** Parts of one upload in flight. */
  readonly concurrency: number;
  readonly storageClass: string;
  readonly sse: SseHeaders;
  /** Send a checksum that the store keeps with the object: AWS knows it, many others refuse it. */
  readonly checksums: boolean;
  /** What the keys of this replica begin with. */
  readonly prefix: string;
}

export interface UploadOptions {
  /** Sent with the request that makes the object visible. */
  readonly condition: Readonly<Record<string, string>>;
  readonly signal: AbortSignal | undefined;
}

/** Bytes of each part but the last, all equal: no more than 9000 of them. Spec: failures BKD-07. */
export function partSizeFor(size: number, configured: number): number {
  return Math.max(configured, Math.ceil(size / PARTS_MAX));
}

/** Stores objects: in one request, or in parts. Spec: backends 5.2.4. */
export class Uploader {
  readonly #options: UploaderOptions;
  readonly #closed = new AbortController();
  #swept: Promise<void> | undefined;
  #sweeping: Promise<void> | undefined;

  constructor(options: UploaderOptions) {
    this.#options = options;
  }

  /**
   * Stores a source under a key, complete or not at all.
   *
   * @returns the time in its LTX header.
   */
  async upload(key: string, source: WriteSource, options: UploadOptions): Promise<number> {
    const { fileSystem, partSize: configured } = this.#options;
    checkPartSize(key, configured);
    const partSize = partSizeFor(source.size, configured);
    const { signal } = options;
    const opened = await openUploadSource(source, { fileSystem, partSize, signal });
    try {
      const headers = this.#createHeaders(opened.createdAt);
      if (source.size <= partSize) await this.#put(key, opened, { ...options, headers });
      else await this.#inParts(key, opened, { ...options, headers, partSize });
      return opened.createdAt;
    } finally {
      await opened.close();
    }
  }

  #createHeaders(createdAt: number): Record<string, string> {
    const { storageClass, sse } = this.#options;
    return {
      'x-amz-meta-litestream-timestamp': formatRfc3339(createdAt),
      ...(storageClass !== '' && { 'x-amz-storage-class': storageClass }),
      ...sse.create,
    };
  }

  async #put(
    key: string,
    source: UploadSource,
    { condition, headers, signal }: UploadOptions & { headers: Record<string, string> },
  ): Promise<void> {
    for await (const body of source.parts()) {
      const checksum = this.#options.checksums && {
        'x-amz-checksum-sha256': Buffer.from(await body.sha256(), 'hex').toString('base64'),
      };
      await this.#options.api.request({
        what: `put object ${key}`,
        method: 'PUT',
        key,
        headers: { ...headers, ...condition, ...checksum },
        body,
        signal,
      });
    }
  }

  async #inParts(
    key: string,
    source: UploadSource,
    options: UploadOptions & { headers: Record<string, string>; partSize: number },
  ): Promise<void> {
    const { api } = this.#options;
    const { headers, signal, partSize } = options;
    await (this.#swept ??= this.#sweep());
    const what = `upload to ${key}`;
    const uploadId = await api.call(
      { what, method: 'POST', key, query: { uploads: '' }, headers, signal },
      ({ text }) => readUploadId(what, text),
    );
    try {
      const etags = await this.#sendParts({ key, uploadId, source, partSize, signal });
      await this.#complete({ key, uploadId, etags, ...options });
    } catch (error) {
      await this.#abort(key, uploadId);
      throw error;
    }
  }

  #sendParts({ key, uploadId, source, partSize, signal }: PartsOptions): Promise<string[]> {
    let number = 0;
    return sendParts(source.parts(), {
      limit: this.#parallelism(source, partSize),
      signal,
      send: (body, stop) => this.#sendPart({ key, uploadId, number: ++number, body, signal: stop }),
    });
  }

  #parallelism(source: UploadSource, partSize: number): number {
    const { concurrency } = this.#options;
    if (source.onDisk) return concurrency;
    return Math.max(1, Math.min(concurrency, Math.floor(MEMORY_BYTES_MAX / partSize)));
  }

  async #sendPart({ key, uploadId, number, body, signal }: PartOptions): Promise<string> {
    const { headers } = await this.#options.api.request({
      what: `upload to ${key}: part ${number}`,
      method: 'PUT',
      key,
      query: { partNumber: String(number), uploadId },
      headers: this.#options.sse.object,
      body,
      patient: true,
      signal,
    });
    const etag = headers['etag'] ?? '';
    if (etag === '') throw noEtag(key);
    return etag;
  }

  async #complete(
    options: UploadOptions & {
      readonly key: string;
      readonly uploadId: string;
      readonly etags: readonly string[];
    },
  ): Promise<void> {
    const { key, uploadId, etags, condition, signal } = options;
    const { api, clock } = this.#options;
    const what = `upload to ${key}`;
    const parts = etags.map(
      (etag, index) =>
        `<Part><ETag>${escapeXml(etag)}</ETag><PartNumber>${index + 1}</PartNumber></Part>`,
    );
    const xml = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts.join('')}</CompleteMultipartUpload>`;
    const read = async (answer: S3Answer): Promise<string> => {
      // The status is sent before the parts are joined: failure comes as a document.
      if ((await readError(answer.text)).code !== '') {
        throw await answerError(what, { ...answer, ofObject: false }, clock);
      }
      return readCompleted(what, answer.text);
    };
    try {
      const etag = await api.call(
        {
          what,
          method: 'POST',
          key,
          query: { uploadId },
          headers: { 'content-type': 'application/xml', ...condition },
          body: bytesBody(new TextEncoder().encode(xml)),
          patient: true,
          signal,
        },
        read,
      );
      if (etag === '') throw noEtag(key);
    } catch (error) {
      // The answer to an earlier attempt may have been lost.
      if (providerCode(error) !== 'NoSuchUpload' || !(await this.#isThere(options))) throw error;
    }
  }

  /** True if the key holds an object of as many parts as were sent. */
  async #isThere({
    key,
    etags,
    signal,
  }: {
    readonly key: string;
    readonly etags: readonly string[];
    readonly signal: AbortSignal | undefined;
  }): Promise<boolean> {
    const { headers, status } = await this.#options.api.request({
      what: `head object ${key}`,
      method: 'HEAD',
      key,
      headers: this.#options.sse.object,
      allowed: [404],
      signal,
    });
    return (
      status !== 404 && headers['etag']?.replaceAll('"', '').endsWith(`-${etags.length}`) === true
    );
  }

  /** Best effort, with a bound: what stays is swept a day later. */
  async #abort(key: string, uploadId: string): Promise<void> {
    const bound = new AbortController();
    const timer = this.#options.clock.timer(CLEAN_UP_MS_MAX, () => bound.abort());
    try {
      await this.#options.api.request({
        what: `abort upload to ${key}`,
        method: 'DELETE',
        key,
        query: { uploadId },
        allowed: [404],
        attempts: 2,
        signal: bound.signal,
      });
    } catch (error) {
      this.#options.logger.log('debug', 'cannot abort upload', { key, error: errorMessage(error) });
    } finally {
      timer.cancel();
    }
  }

  /**
   * Looks for parts that a killed process has left, once, before there are any of ours: stores exist that tell a wrong time. Removes
   * them in the background. Best effort.
   */
  async #sweep(): Promise<void> {
    const { api, clock, logger, prefix } = this.#options;
    const { signal } = this.#closed;
    let found: readonly OpenUpload[];
    try {
      const what = 'list uploads';
      found = await api.call(
        { what, method: 'GET', query: { uploads: '', prefix }, attempts: 1, signal },
        ({ text }) => readOpenUploads(what, text),
      );
    } catch (error) {
      if (!isLitestreamError(error)) throw error;
      logger.log('debug', 'cannot list uploads', { error: errorMessage(error) });
      return;
    }
    const before = clock.now() - ABANDONED_AFTER_MS;
    const abandoned = found.filter(
      ({ key, initiatedAt }) => initiatedAt < before && key.startsWith(prefix),
    );
    this.#sweeping = this.#remove(abandoned, signal);
  }

  async #remove(abandoned: readonly OpenUpload[], signal: AbortSignal): Promise<void> {
    for (const { key, uploadId } of abandoned) {
      if (isAborted(signal)) return;
      this.#options.logger.log('info', 'aborting abandoned upload', { key });
      await this.#abort(key, uploadId);
    }
  }

  /** Ends what runs in the background. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#swept;
    await this.#sweeping;
  }
}

interface PartsOptions {
  readonly key: string;
  readonly uploadId: string;
  readonly source: UploadSource;
  readonly partSize: number;
  readonly signal: AbortSignal | undefined;
}

interface PartOptions {
  readonly key: string;
  readonly uploadId: string;
  readonly number: number;
  readonly body: RequestBody;
  readonly signal: AbortSignal;
}

function checkPartSize(key: string, partSize: number): void {
  if (partSize >= PART_SIZE_MIN) return;
  const text = `s3: upload to ${key}: part size must be at least ${PART_SIZE_MIN} bytes`;
  throw new LitestreamError('ERR_CONFIG', text, {
    details: { field: 'part-size', expected: PART_SIZE_MIN, found: partSize },
    hint: 'write 5MiB: 5MB is less',
  });
}

function noEtag(key: string): LitestreamError {
  return new LitestreamError('ERR_STORAGE', 's3: upload failed: no ETag returned', {
    details: { key },
  });
}
