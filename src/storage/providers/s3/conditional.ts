import { isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import type { Logger } from '../../../telemetry/index.ts';
import type { WriteSource } from '../../contract.ts';
import type { S3Api } from './api.ts';
import { providerCode, statusOf, UNSUPPORTED } from './errors.ts';
import type { S3Quirks } from './quirks.ts';
import type { SseHeaders } from './sse.ts';
import type { Uploader } from './upload.ts';

const IF_ABSENT = { 'if-none-match': '*' };
/** Larger sources are not sent twice to find out what a store does. */
const TRIAL_SIZE_MAX = 1024 * 1024;

export interface ConditionalOptions {
  readonly api: S3Api;
  readonly uploader: Uploader;
  readonly sse: SseHeaders;
  readonly logger: Logger;
  readonly conditionalWrites: S3Quirks['conditionalWrites'];
  /** Larger sources go up in parts. */
  readonly partSize: number;
}

interface Upload {
  readonly key: string;
  readonly source: WriteSource;
  readonly signal: AbortSignal | undefined;
}

/**
 * Uploads that never replace an object. Where the store decides that in one step it does; where it cannot, we look first. A store of
 * which nothing is known is tried once: it must refuse the first small object when it is sent again.
 */
export class ConditionalUploads {
  readonly #options: ConditionalOptions;
  #state: S3Quirks['conditionalWrites'];

  constructor(options: ConditionalOptions) {
    this.#options = options;
    this.#state = options.conditionalWrites;
  }

  /** @throws LitestreamError `ERR_STORAGE_EXISTS` */
  async upload(upload: Upload): Promise<number> {
    // On the request that completes an upload in parts the condition is younger, and less widely known.
    const looks = this.#state !== 'honoured' || upload.source.size > this.#options.partSize;
    if (looks) await this.#requireAbsent(upload);
    if (this.#state === 'unsupported') return this.#plainly(upload);
    let createdAt: number;
    try {
      createdAt = await this.#conditionally(upload);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#state = 'unsupported';
      await this.#requireAbsent(upload);
      return this.#plainly(upload);
    }
    if (this.#state === 'unknown' && upload.source.size <= TRIAL_SIZE_MAX) await this.#try(upload);
    return createdAt;
  }

  #plainly({ key, source, signal }: Upload): Promise<number> {
    return this.#options.uploader.upload(key, source, { condition: {}, signal });
  }

  #conditionally({ key, source, signal }: Upload): Promise<number> {
    return this.#options.uploader.upload(key, source, { condition: IF_ABSENT, signal });
  }

  /** The same bytes under the same key: harmless where the condition is ignored. */
  async #try(upload: Upload): Promise<void> {
    try {
      await this.#conditionally(upload);
      this.#state = 'unsupported';
      this.#options.logger.log('debug', 'store ignores If-None-Match, looking before each upload');
    } catch (error) {
      if (isLitestreamError(error, 'ERR_STORAGE_EXISTS')) this.#state = 'honoured';
      // Anything else says nothing; the object itself is stored.
    }
  }

  async #requireAbsent({ key, signal }: Upload): Promise<void> {
    const { status } = await this.#options.api.request({
      what: `head object ${key}`,
      method: 'HEAD',
      key,
      headers: this.#options.sse.object,
      allowed: [404],
      signal,
    });
    if (status === 404) return;
    throw new LitestreamError('ERR_STORAGE_EXISTS', `s3: put object ${key}: the object exists`, {
      details: { key },
    });
  }
}

/** The store does not know the condition; it may say so by 400, 501 or its code. */
function isRefusal(error: unknown): boolean {
  const code = providerCode(error);
  if (UNSUPPORTED.has(code) || statusOf(error) === 501) return true;
  return code === 'InvalidArgument' && /if-none-match/i.test(String(error));
}
