import { STATUS_CODES } from 'node:http';
import type { Clock } from '../../../lib/clock.ts';
import {
  errorMessage,
  isLitestreamError,
  LitestreamError,
  wrapError,
} from '../../../lib/errors.ts';
import {
  type HttpBodySource,
  HttpClient,
  type HttpResponse,
  HttpStatusError,
  isRetryableStatus,
  retryAfterMs,
  withRetries,
} from '../../http/index.ts';
import { percentDecode } from '../../percent.ts';
import { type Address, encodePath } from './address.ts';
import { Authorizer } from './authorizer.ts';

/** A busy server has about eight seconds to recover within one call; the caller comes back later anyway. */
const ATTEMPTS = 6;
const RETRY_BASE_MS = 250;
const RETRY_MAX_MS = 4000;
const RETRY_TOTAL_MS = 30_000;
/** Worker threads of small servers are few. */
const CONNECTIONS_MAX = 16;
/** Challenges answered for one request: one to learn the scheme, one for a nonce that has run out. */
const CHALLENGES_MAX = 2;
const EXPLANATION_SIZE_MAX = 64 * 1024;

export interface SessionOptions {
  readonly address: Address;
  readonly username: string;
  readonly password: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface DavRequest {
  readonly method: string;
  /** Below the address, decoded, without a slash at the start. A collection's ends in a slash. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | HttpBodySource | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly idleTimeoutMs?: number | undefined;
}

/** Requests to one server, with authorization. */
export class Session {
  readonly #http: HttpClient;
  readonly #address: Address;
  readonly #authorizer: Authorizer;
  readonly #clock: Clock;
  readonly #random: () => number;

  constructor({ address, username, password, clock, random, environment }: SessionOptions) {
    const user = username === '' ? address.username : username;
    const secret = username === '' ? address.password : password;
    this.#http = new HttpClient({ clock, environment, maxSockets: CONNECTIONS_MAX });
    this.#address = address;
    this.#authorizer = new Authorizer({
      credentials: user === '' && secret === '' ? undefined : { username: user, password: secret },
      secure: address.target.protocol === 'https:',
    });
    this.#clock = clock;
    this.#random = random;
  }

  /** The path of a request's first line. */
  target(path: string): string {
    return `${this.#address.base}/${encodePath(path)}`;
  }

  /** The same with scheme and host. */
  url(path: string): string {
    return this.#address.origin + this.target(path);
  }

  /** The decoded path of a request's first line. */
  decodedTarget(path: string): string {
    const base = percentDecode(this.#address.base);
    return `${base.ok ? base.text : this.#address.base}/${path}`;
  }

  /** Sends a request and answers challenges. Any status is returned, 401 too. */
  async send(request: DavRequest): Promise<HttpResponse> {
    const { method, signal, body, idleTimeoutMs } = request;
    const path = this.target(request.path);
    for (let challenges = 0; ; challenges++) {
      const authorization = this.#authorizer.header(method, path);
      const response = await this.#http.send({
        method,
        target: this.#address.target,
        path,
        headers: {
          ...request.headers,
          ...(authorization !== undefined && { authorization }),
        },
        body,
        signal,
        idleTimeoutMs,
      });
      if (response.status !== 401) {
        if (response.status < 500) this.#authorizer.accepted(authorization, response.headers);
        return response;
      }
      const offers = response.headers['www-authenticate'] ?? '';
      const again = this.#authorizer.challenged(offers, authorization);
      if (!again || challenges >= CHALLENGES_MAX) return response;
      await response.discard();
    }
  }

  /** {@link send} for an answer without a body that matters. Other statuses than `expected` are errors. */
  async command(request: DavRequest, expected: readonly number[]): Promise<number> {
    const response = await this.send(request);
    if (!expected.includes(response.status)) throw await this.unexpected(response);
    await response.discard();
    return response.status;
  }

  /** What an answer that is no success means. Its body is read for an explanation. */
  async unexpected(response: HttpResponse): Promise<HttpStatusError> {
    const { status, headers } = response;
    const explanation = await explanationIn(response);
    const text = `${status} ${STATUS_CODES[status] ?? 'unknown status'}`;
    // Another client holds a lock; it may let go.
    const retryable = isRetryableStatus(status) || status === 423 || status === 425;
    const hint = hintFor(status, headers);
    return new HttpStatusError(explanation === '' ? text : `${text} (${explanation})`, {
      status,
      retryable,
      ...(retryable && { code: 'ERR_STORAGE_TEMPORARY' }),
      // Where a missing file is an answer, nobody comes here.
      ...(status === 404 && { code: 'ERR_STORAGE' }),
      retryAfterMs: retryAfterMs(headers, this.#clock),
      ...(hint !== undefined && { hint }),
    });
  }

  /**
   * Runs attempts within a bound.
   *
   * @param what - what goes before the message of each error: `webdav: cannot read file "f"`
   */
  async retrying<T>(
    what: string,
    signal: AbortSignal | undefined,
    attempt: (n: number) => Promise<T>,
  ): Promise<T> {
    try {
      return await withRetries(attempt, {
        clock: this.#clock,
        random: this.#random,
        attempts: ATTEMPTS,
        baseMs: RETRY_BASE_MS,
        maxMs: RETRY_MAX_MS,
        totalMs: RETRY_TOTAL_MS,
        signal,
        what,
      });
    } catch (error) {
      throw named(what, error);
    }
  }

  close(): void {
    this.#http.close();
  }
}

/** The error of a store with the object before its message. Aborts and the errors of a source stay as they are. */
export function named(what: string, error: unknown): unknown {
  if (!(error instanceof LitestreamError)) return error;
  if (!/^ERR_(?:STORAGE|DISK_FULL)/.test(error.code)) return error;
  return error.message.startsWith(what) ? error : wrapError(what, error);
}

/** What servers of the Nextcloud family say in words. */
async function explanationIn(response: HttpResponse): Promise<string> {
  try {
    const text = await response.text(EXPLANATION_SIZE_MAX);
    const message = /<(?:[a-z]+:)?message>([^<]{1,200})/i.exec(text)?.[1] ?? '';
    return message.replace(/\s+/g, ' ').trim();
  } catch (error) {
    if (isLitestreamError(error, 'ERR_ABORTED')) throw error;
    return isLitestreamError(error) ? '' : errorMessage(error);
  }
}

function hintFor(status: number, headers: Readonly<Record<string, string>>): string | undefined {
  if (status >= 300 && status < 400) {
    return `the server redirects to ${headers['location'] ?? 'another address'}; put that into webdav-url`;
  }
  const hints: Readonly<Record<number, string>> = {
    401: 'check webdav-username and webdav-password',
    403: 'check the permissions of webdav-username on the server',
    405: 'check that webdav-url is the address of a WebDAV collection',
    407: 'check the user in HTTP_PROXY or HTTPS_PROXY',
    409: 'check that the collection in webdav-url exists',
    413: "raise the server's limit on the size of requests",
    501: 'check that webdav-url is the address of a WebDAV collection',
    507: 'make room on the server or raise the quota',
  };
  return hints[status];
}
