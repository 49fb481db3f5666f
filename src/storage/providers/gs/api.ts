import type { Clock } from '../../../lib/clock.ts';
import { LitestreamError, wrapError } from '../../../lib/errors.ts';
import { parseRfc3339 } from '../../../lib/time-text.ts';
import {
  type HttpClient,
  type HttpRequest,
  type HttpResponse,
  type HttpTarget,
  withRetries,
} from '../../http/index.ts';
import type { GsCredentials } from './credentials.ts';
import { gsError, type Subject } from './errors.ts';
import { child, itemsOf, textOf } from './json.ts';

const ATTEMPTS_MAX = 10;
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 5000;
const RETRY_TOTAL_MS = 60_000;
const PAGE_SIZE = 1000;
/** A page without its fields being limited is about 1 KB per object. */
const PAGE_BYTES_MAX = 16 * 1024 * 1024;

export interface GsApiPorts {
  readonly bucket: string;
  readonly target: HttpTarget;
  /** See {@link GsApi.resumes}. */
  readonly resumes: boolean;
  readonly http: HttpClient;
  readonly credentials: GsCredentials;
  readonly clock: Clock;
  readonly random: () => number;
}

/** One request, repeated until it is answered. */
export interface GsCall extends Pick<HttpRequest, 'method' | 'path' | 'body' | 'signal'> {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Prefix of error messages: `gs: get object "p/ltx/0/…"`. */
  readonly what: string;
  readonly subject: Subject;
  /** Statuses that are no failure. */
  readonly accept: readonly number[];
  /** False for a session's address, which is a secret by itself. Default true. */
  readonly authorized?: boolean | undefined;
  /** A session may live on another host. */
  readonly target?: HttpTarget | undefined;
}

/** One object of a listing. */
export interface GsObject {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** When the store got it, in milliseconds since the Unix epoch. */
  readonly modifiedAt: number;
  /** Custom metadata `litestream-timestamp`; empty if it has none. */
  readonly timestamp: string;
}

/** Percent-encodes everything but letters, digits and `-_.~`: the store splits paths at slashes before it decodes them. */
export function encodeName(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** The requests of the store's JSON API that a replica needs. Spec: backends 5.3. */
export class GsApi {
  readonly bucket: string;
  readonly #ports: GsApiPorts;
  /** Path of the bucket's objects. */
  readonly objects: string;

  constructor(ports: GsApiPorts) {
    this.#ports = ports;
    this.bucket = ports.bucket;
    this.objects = `/storage/v1/b/${encodeName(ports.bucket)}/o`;
  }

  /**
   * True if an upload in chunks can go on where it broke. Not in emulators, which get every file in one request: fake-gcs-server
   * ends an upload when it is asked how far that is, and stores twice what it gets twice.
   */
  get resumes(): boolean {
    return this.#ports.resumes;
  }

  get target(): HttpTarget {
    return this.#ports.target;
  }

  objectPath(name: string): string {
    return `${this.objects}/${encodeName(name)}`;
  }

  /** Resolves the credentials, if the store asks for any. */
  async authorize(signal?: AbortSignal): Promise<void> {
    await this.#ports.credentials.headers(signal);
  }

  /**
   * Sends a request until it gets one of the accepted answers, and reads that with `consume`, whose failures are repeated
   * as well.
   */
  async call<T>(call: GsCall, consume: (response: HttpResponse) => Promise<T>): Promise<T> {
    try {
      return await withRetries(() => this.once(call, consume), {
        ...this.retryOptions(call.signal),
        what: 'request',
      });
    } catch (error) {
      throw named(call.what, error);
    }
  }

  /** {@link call} without repetition and without a name in its errors. */
  async once<T>(call: GsCall, consume: (response: HttpResponse) => Promise<T>): Promise<T> {
    let response = await this.#send(call);
    if (response.status === 401 && call.authorized !== false) {
      // A token may end before its time. With a new one the answer counts.
      await response.discard();
      this.#ports.credentials.renew();
      response = await this.#send(call);
    }
    if (call.accept.includes(response.status)) return consume(response);
    const { bucket, clock } = this.#ports;
    throw await gsError(response, { bucket, clock, subject: call.subject });
  }

  retryOptions(signal: AbortSignal | undefined): Omit<Parameters<typeof withRetries>[1], 'what'> {
    const { clock, random } = this.#ports;
    return {
      clock,
      random,
      signal,
      attempts: ATTEMPTS_MAX,
      baseMs: RETRY_BASE_MS,
      maxMs: RETRY_MAX_MS,
      totalMs: RETRY_TOTAL_MS,
    };
  }

  /** Objects whose names begin with the prefix and are not less than `from`, page by page, in the store's order. */
  async *pages(
    prefix: string,
    { from = '', signal, what }: { from?: string; signal?: AbortSignal | undefined; what: string },
  ): AsyncGenerator<readonly GsObject[], void, undefined> {
    const fields = 'items(name,size,timeCreated,metadata),nextPageToken';
    const fixed = { prefix, maxResults: String(PAGE_SIZE), projection: 'noAcl', fields };
    let pageToken = '';
    do {
      const query = new Map(Object.entries(fixed));
      if (from !== '') query.set('startOffset', from);
      if (pageToken !== '') query.set('pageToken', pageToken);
      const pairs = [...query].map(([key, value]) => `${key}=${encodeName(value)}`);
      const path = `${this.objects}?${pairs.join('&')}`;
      const page = await this.call(
        { method: 'GET', path, signal, what, subject: 'bucket', accept: [200] },
        async (response) => parseJson(await response.text(PAGE_BYTES_MAX)),
      );
      yield itemsOf(child(page, 'items')).map(readObject);
      pageToken = textOf(child(page, 'nextPageToken'));
    } while (pageToken !== '');
  }

  /** Deletes one object; a missing one counts as deleted. */
  async remove(name: string, what: string, signal?: AbortSignal): Promise<void> {
    const path = this.objectPath(name);
    try {
      await this.call(
        { method: 'DELETE', path, signal, what, subject: 'object', accept: [200, 204] },
        (response) => response.discard(),
      );
    } catch (error) {
      if (error instanceof LitestreamError && error.code === 'ERR_STORAGE_NOT_FOUND') return;
      throw error;
    }
  }

  async #send(call: GsCall): Promise<HttpResponse> {
    const { method, path, body, signal, headers = {}, authorized = true } = call;
    const { http, target, credentials } = this.#ports;
    const proof = authorized ? await credentials.headers(signal) : {};
    return http.send({
      method,
      target: call.target ?? target,
      path,
      headers: { ...headers, ...proof },
      signal,
      ...(body !== undefined && { body }),
    });
  }
}

/** The error with the name of the operation; an abort stays as it is. */
export function named(what: string, error: unknown): unknown {
  if (!(error instanceof LitestreamError) || error.code === 'ERR_ABORTED') return error;
  // Its text begins with the reference's words for it.
  if (error.message.startsWith('failed to create GCS client')) return error;
  return wrapError(what, error);
}

/** @throws LitestreamError `ERR_STORAGE_TEMPORARY`: something on the way has answered in the store's place. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const message = `answer is not JSON: ${text.slice(0, 100)}`;
    throw new LitestreamError('ERR_STORAGE_TEMPORARY', message, { cause: error, retryable: true });
  }
}

function readObject(item: unknown): GsObject {
  const size = Number(child(item, 'size'));
  const key = textOf(child(item, 'name'));
  if (key === '' || !Number.isSafeInteger(size)) {
    const details = { field: 'items', expected: 'name and size', found: JSON.stringify(item) };
    throw new LitestreamError('ERR_STORAGE', 'list answer has an object without name and size', {
      details,
    });
  }
  return {
    key,
    size,
    modifiedAt: parseRfc3339(textOf(child(item, 'timeCreated'))) ?? 0,
    timestamp: textOf(child(child(item, 'metadata'), TIMESTAMP_KEY)),
  };
}

/** Custom metadata that holds an LTX file's time. */
export const TIMESTAMP_KEY = 'litestream-timestamp';
