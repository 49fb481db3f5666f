import { createHash } from 'node:crypto';
import type { Clock } from '../../../lib/clock.ts';
import { LitestreamError, wrapError } from '../../../lib/errors.ts';
import {
  type HttpClient,
  type HttpResponse,
  HttpStatusError,
  type RetryOptions,
  withRetries,
} from '../../http/index.ts';
import { escapeXml } from '../../xml/index.ts';
import type { OssAddress } from './address.ts';
import { type OssPage, readDeleted, readPage } from './answers.ts';
import { ossError } from './errors.ts';
import { encodeQuery, type OssKeys, signedHeaders } from './signer.ts';

const ATTEMPTS_MAX = 10;
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 5000;
const RETRY_TOTAL_MS = 60_000;
const PAGE_SIZE = 1000;
const PAGE_BYTES_MAX = 16 * 1024 * 1024;
/** Keys that one request may delete. */
export const DELETE_BATCH_MAX = 1000;

export interface OssApiPorts {
  readonly bucket: string;
  readonly address: OssAddress;
  /** Asked for every request. */
  readonly keys: () => OssKeys;
  readonly http: HttpClient;
  readonly clock: Clock;
  readonly random: () => number;
}

/** One request, repeated until it is answered. */
export interface OssCall {
  readonly method: string;
  /** Object; default: the bucket itself. */
  readonly key?: string | undefined;
  readonly query?: Readonly<Record<string, string>> | undefined;
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Prefix of error messages: `oss: get object p/0000/…`. */
  readonly what: string;
  /** Statuses that are no failure. Default: 200. */
  readonly accept?: readonly number[] | undefined;
  /** Default: 10. */
  readonly attempts?: number | undefined;
}

/** MD5 as headers carry it. */
export function md5Base64(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('base64');
}

/** Requests to one bucket of Alibaba Cloud OSS, signed anew for each attempt. Spec: backends 5.7. */
export class OssApi {
  readonly #ports: OssApiPorts;

  constructor(ports: OssApiPorts) {
    this.#ports = ports;
  }

  get bucket(): string {
    return this.#ports.bucket;
  }

  /** @throws LitestreamError `ERR_STORAGE_DENIED` if there are no keys. */
  checkKeys(): void {
    this.#ports.keys();
  }

  now(): number {
    return this.#ports.clock.now();
  }

  /**
   * Sends a request until it gets one of the accepted answers, and reads that with `consume`, whose failures are repeated
   * as well.
   *
   * @param onAttempt - called before each attempt.
   */
  async call<T>(
    call: OssCall,
    consume: (response: HttpResponse) => Promise<T>,
    onAttempt?: () => void,
  ): Promise<T> {
    const attempt = async (): Promise<T> => {
      onAttempt?.();
      return consume(await this.#send(call));
    };
    try {
      return await withRetries(attempt, this.#retryOptions(call));
    } catch (error) {
      throw named(call.what, error);
    }
  }

  /** Objects whose keys begin with the prefix, page by page, in the store's order. */
  async *pages(
    prefix: string,
    { from = '', signal }: { from?: string; signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<OssPage['objects'], void, undefined> {
    let next: string | undefined;
    do {
      const query = {
        'list-type': '2',
        'encoding-type': 'url',
        'max-keys': String(PAGE_SIZE),
        prefix,
        ...(from !== '' && { 'start-after': from }),
        ...(next !== undefined && { 'continuation-token': next }),
      };
      const page: OssPage = await this.call(
        { method: 'GET', query, signal, what: 'oss: list objects page' },
        async (response) => readPage(await response.text(PAGE_BYTES_MAX), prefix),
      );
      yield page.objects;
      next = page.next;
    } while (next !== undefined);
  }

  /**
   * Deletes up to {@link DELETE_BATCH_MAX} objects.
   *
   * @throws LitestreamError naming every key that the answer does not confirm.
   */
  async deleteBatch(keys: readonly string[], signal?: AbortSignal): Promise<void> {
    const objects = keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`).join('');
    const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Delete><Quiet>false</Quiet>${objects}</Delete>`;
    const body = Buffer.from(xml);
    const deleted = await this.call(
      {
        method: 'POST',
        query: { delete: '' },
        headers: { 'content-type': 'application/xml', 'content-md5': md5Base64(body) },
        body,
        signal,
        what: `oss: delete batch of ${keys.length} objects`,
      },
      async (response) => readDeleted(await response.text()),
    );
    const kept = keys.filter((key) => !deleted.has(key));
    if (kept.length === 0) return;
    throw new LitestreamError(
      'ERR_STORAGE_TEMPORARY',
      ['oss: failed to delete files:', ...kept].join('\n'),
      { retryable: true, details: { keys: kept } },
    );
  }

  async #send(call: OssCall): Promise<HttpResponse> {
    const { method, key = '', query = {}, headers = {}, body, signal, accept = [200] } = call;
    const { bucket, address, http, clock } = this.#ports;
    const { region, target } = address;
    const scope = { bucket, region };
    const search = encodeQuery(query);
    const response = await http.send({
      method,
      target,
      path: address.path(key) + (search === '' ? '' : `?${search}`),
      headers: signedHeaders(
        { method, key, query, headers },
        this.#ports.keys(),
        scope,
        clock.now(),
      ),
      signal,
      ...(body && { body }),
    });
    if (accept.includes(response.status)) return response;
    throw await ossError(response, clock);
  }

  #retryOptions({ signal, attempts = ATTEMPTS_MAX }: OssCall): RetryOptions {
    const { clock, random } = this.#ports;
    return {
      clock,
      random,
      signal,
      attempts,
      baseMs: RETRY_BASE_MS,
      maxMs: RETRY_MAX_MS,
      totalMs: RETRY_TOTAL_MS,
      what: 'request',
      isRetryable: (error) =>
        error instanceof LitestreamError && error.retryable && !isUploadGone(error),
    };
  }
}

/** True if an upload in parts has ended: it was completed, or nobody knows it any more. */
export function isUploadGone(error: unknown): boolean {
  return error instanceof HttpStatusError
    ? error.providerCode === 'NoSuchUpload'
    : error instanceof LitestreamError && error.details['providerCode'] === 'NoSuchUpload';
}

/** The error with the name of the operation; an abort stays as it is. */
export function named(what: string, error: unknown): unknown {
  if (!(error instanceof LitestreamError) || error.code === 'ERR_ABORTED') return error;
  return error.message.startsWith('oss: ') ? error : wrapError(what, error);
}
