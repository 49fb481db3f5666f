import { createHash } from 'node:crypto';
import type { Clock } from '../../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import type { Logger } from '../../../telemetry/index.ts';
import {
  type HttpRequest,
  type HttpResponse,
  type HttpStatusError,
  parseHttpDate,
  withRetries,
} from '../../http/index.ts';
import { raceAbort } from '../../streams.ts';
import { encodeQuery, type S3Address } from './address.ts';
import type { RequestBody } from './body.ts';
import type { CredentialSource } from './credentials.ts';
import { answerError, EXPIRED } from './errors.ts';
import type { WireLog } from './wire-log.ts';
import { sha256Hex, sign, UNSIGNED_PAYLOAD } from './signer.ts';

const ATTEMPTS = 10;
const RETRY_BASE_MS = 400;
const RETRY_MAX_MS = 8000;
/** For parts of an upload: giving one up throws the others away. */
const PATIENT_RETRY_MAX_MS = 20_000;
/** No further attempt begins later than this after the first one. */
const RETRY_TOTAL_MS = 60_000;
const TELL_FROM_ATTEMPT = 3;
const TELL_EVERY_MS = 30_000;
const ERROR_TEXT_MAX = 64 * 1024;
const TYPE = 'application/octet-stream';
/** Of what is sent; anything else may be changed on the way by a service's own proxies. */
const SIGNED = /^(?:x-|content-md5$)/;
const EMPTY_SHA256 = sha256Hex('');

/** Sends requests; that of the HTTP client, or a test's own. */
export interface HttpSender {
  send(request: HttpRequest): Promise<HttpResponse>;
}

export interface S3Request {
  /** For errors: `get object p/0000/…`. */
  readonly what: string;
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Absent: the bucket itself. */
  readonly key?: string | undefined;
  readonly query?: Readonly<Record<string, string>> | undefined;
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: RequestBody | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Statuses beside 2xx that are no error. */
  readonly allowed?: readonly number[] | undefined;
  /** Default 10. */
  readonly attempts?: number | undefined;
  /** For {@link HttpResponse.fill}. */
  readonly direct?: boolean | undefined;
  /** Wait longer between attempts: much work depends on this one. */
  readonly patient?: boolean | undefined;
}

/** An answer that was read to its end. */
export interface S3Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

export interface S3ApiOptions {
  readonly address: S3Address;
  readonly region: string;
  readonly credentials: CredentialSource;
  readonly http: HttpSender;
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** False: bodies are not part of the signature. */
  readonly signPayload: boolean;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly wire: WireLog;
}

/** Signed requests to one bucket, repeated while that may help. Spec: backends 5.2.5, 5.2.9. */
export class S3Api {
  readonly #options: S3ApiOptions;
  /** Milliseconds by which the service's clock is ahead, once it has refused ours. */
  #clockOffsetMs = 0;
  #toldAt = -Infinity;

  constructor(options: S3ApiOptions) {
    this.#options = options;
  }

  /** Sends a request and reads the answer, which must be short. */
  request(request: S3Request): Promise<S3Answer> {
    return this.call(request, (answer) => answer);
  }

  /** {@link request}, with `read` as part of each attempt: what it throws is retried if it is retryable. */
  call<T>(request: S3Request, read: (answer: S3Answer) => T | Promise<T>): Promise<T> {
    return this.#retried(request, async () => {
      const response = await this.#accepted(request);
      const { status, headers } = response;
      const text = await response.text();
      this.#options.wire.responseBody(text);
      return read({ status, headers, text });
    });
  }

  /** Sends a request and hands over the answer as soon as its head is there. The body must be read or discarded. */
  open(request: S3Request): Promise<HttpResponse> {
    return this.#retried(request, () => this.#accepted(request));
  }

  #retried<T>(request: S3Request, attempt: () => Promise<T>): Promise<T> {
    const { clock, random } = this.#options;
    const told = async (n: number): Promise<T> => {
      try {
        return await attempt();
      } catch (error) {
        this.#options.wire.retry(n, error);
        if (n >= TELL_FROM_ATTEMPT) this.#tell(error);
        throw error;
      }
    };
    return withRetries(told, {
      clock,
      random,
      attempts: request.attempts ?? ATTEMPTS,
      baseMs: RETRY_BASE_MS,
      maxMs: request.patient === true ? PATIENT_RETRY_MAX_MS : RETRY_MAX_MS,
      totalMs: RETRY_TOTAL_MS,
      signal: request.signal,
      what: `s3: ${request.what}`,
      isRetryable,
    });
  }

  /** Says that requests fail and are repeated: an outage must not pass in silence until they give up. */
  #tell(error: unknown): void {
    if (!isLitestreamError(error) || !error.retryable) return;
    const now = this.#options.clock.monotonic();
    if (now - this.#toldAt < TELL_EVERY_MS) return;
    this.#toldAt = now;
    const { hint, message } = error;
    this.#options.logger.log('warn', 's3 requests fail, retrying', { error: message, hint });
  }

  /** One attempt; expired credentials and a wrong clock are put right once. */
  async #accepted(request: S3Request): Promise<HttpResponse> {
    for (let corrected = false; ; corrected = true) {
      const response = await this.#send(request);
      const { status, headers } = response;
      if ((status >= 200 && status < 300) || request.allowed?.includes(status) === true) {
        return response;
      }
      const text = request.method === 'HEAD' ? '' : await errorText(response);
      const ofObject = request.key !== undefined;
      const answer = { status, headers, text, ofObject };
      const error = await answerError(request.what, answer, this.#options.clock);
      if (corrected || !(await this.#correct(error, headers))) throw error;
    }
  }

  async #correct(error: HttpStatusError, headers: HttpResponse['headers']): Promise<boolean> {
    const { clock, credentials } = this.#options;
    const code = error.providerCode ?? '';
    if (EXPIRED.has(code)) return credentials.refresh();
    if (code !== 'RequestTimeTooSkewed') return false;
    const theirs = parseHttpDate(headers['date'] ?? '');
    if (theirs === undefined) return false;
    this.#clockOffsetMs = theirs - clock.now();
    return true;
  }

  async #send(request: S3Request): Promise<HttpResponse> {
    const { address, region, credentials, http, clock, signPayload, wire } = this.#options;
    const { method, key, query = {}, body, direct, signal } = request;
    const path = key === undefined ? address.bucketPath : address.objectPath(key);
    const all = { ...this.#options.headers, ...request.headers };
    const headers = await sign(
      {
        method,
        target: address.target,
        path,
        query,
        headers: Object.fromEntries(Object.entries(all).filter(([name]) => SIGNED.test(name))),
        payload: signPayload ? ((await body?.sha256()) ?? EMPTY_SHA256) : UNSIGNED_PAYLOAD,
      },
      {
        region,
        credentials: await raceAbort(credentials.get(), signal),
        now: clock.now() + this.#clockOffsetMs,
      },
    );
    const asked = encodeQuery(query);
    const target = asked === '' ? path : `${path}?${asked}`;
    const { protocol, host, port } = address.target;
    const url = `${protocol}//${host}:${port}${target}`;
    this.#log(method, url);
    wire.request(method, url, headers, body?.content);
    const response = await this.#named(request, () =>
      http.send({
        method,
        target: address.target,
        path: target,
        headers: { ...(body !== undefined && { 'content-type': TYPE }), ...all, ...headers },
        body: body?.content,
        direct,
        signal,
      }),
    );
    wire.response(url, response.status, response.headers);
    return response;
  }

  /** Errors of the connection get the request's name. */
  async #named<T>({ what }: S3Request, send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (error) {
      if (!isLitestreamError(error) || !error.code.startsWith('ERR_STORAGE')) throw error;
      const { code, retryable, details, hint } = error;
      throw new LitestreamError(code, `s3: ${what}: ${error.message}`, {
        cause: error,
        retryable,
        details,
        ...(hint !== undefined && { hint }),
      });
    }
  }

  #log(method: string, url: string): void {
    const { logger, headers } = this.#options;
    if (!logger.enabled('debug')) return;
    const consistent = headers['x-tigris-consistent'];
    logger.log('debug', 's3 request', {
      s3: {
        method,
        url,
        ...(consistent !== undefined && { 'x-tigris-consistent': consistent }),
      },
    });
  }
}

/** A name that does not exist is a mistake more often than an outage; the daemon tries again anyway. */
function isRetryable(error: unknown): boolean {
  if (!isLitestreamError(error) || error.code === 'ERR_ABORTED') return false;
  return error.retryable && error.details['errno'] !== 'ENOTFOUND';
}

async function errorText(response: HttpResponse): Promise<string> {
  try {
    return await response.text(ERROR_TEXT_MAX);
  } catch {
    // The status says enough.
    await response.discard();
    return '';
  }
}

/** The value of a Content-MD5 header. */
export function contentMd5(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('base64');
}
