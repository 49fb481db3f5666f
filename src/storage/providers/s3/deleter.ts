import type { Clock } from '../../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import { type Logger } from '../../../telemetry/index.ts';
import { mapOrdered } from '../../streams.ts';
import { escapeXml } from '../../xml/index.ts';
import { type DeleteResult, readDeleteResult } from './answers.ts';
import { contentMd5, type S3Api } from './api.ts';
import { bytesBody } from './body.ts';
import { providerCode, statusOf, UNSUPPORTED } from './errors.ts';
import type { SseHeaders } from './sse.ts';

/** What services accept in one request. */
const BATCH_SIZE = 1000;
const PARALLEL_DELETES = 16;
/** Warnings about single objects in a batch. */
const WARNINGS_MAX = 5;

export interface DeleterOptions {
  readonly api: S3Api;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly contentMd5: boolean;
  /** Ask for one object of each batch whether it is really gone. */
  readonly checksDeletes: boolean;
  readonly sse: SseHeaders;
}

interface DeleteOptions {
  /** In errors: `delete batch`. */
  readonly what: string;
  /** Do not list what was deleted. */
  readonly quiet: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Deletes objects in batches. Spec: backends 5.2.7. */
export class Deleter {
  readonly #options: DeleterOptions;
  /** The store has no batches, or they cannot be trusted. */
  #onlySingle = false;

  constructor(options: DeleterOptions) {
    this.#options = options;
  }

  /**
   * Deletes objects; missing ones count as deleted. Stops at the first batch that fails.
   *
   * @throws LitestreamError naming each object that the store refused to delete.
   */
  async delete(keys: readonly string[], options: DeleteOptions): Promise<void> {
    for (let at = 0; at < keys.length; at += BATCH_SIZE) {
      await this.#batch(keys.slice(at, at + BATCH_SIZE), options);
    }
  }

  async #batch(keys: readonly string[], options: DeleteOptions): Promise<void> {
    if (this.#onlySingle) {
      await this.#oneByOne(keys, options.signal);
      return;
    }
    const { clock, logger } = this.#options;
    const startedAt = clock.monotonic();
    const result = await this.#request(keys, options);
    if (result === undefined) {
      this.#onlySingle = true;
      await this.#oneByOne(keys, options.signal);
      return;
    }
    const { deleted, errors } = result;
    const refused = errors.filter(({ code }) => code !== 'NoSuchKey');
    logger.log('debug', 'delete batch completed', {
      requested: keys.length,
      deleted,
      errors: refused.length,
      duration_ms: Math.round(clock.monotonic() - startedAt),
    });
    if (refused.length > 0) throw this.#refused(refused);
    await this.#check(keys, options.signal);
  }

  /** Undefined if the store does not know the request. */
  async #request(
    keys: readonly string[],
    { what, quiet, signal }: DeleteOptions,
  ): Promise<DeleteResult | undefined> {
    const named = `${what} of ${keys.length} objects`;
    const objects = keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`).join('');
    const xml = `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${objects}${quiet ? '<Quiet>true</Quiet>' : ''}</Delete>`;
    const bytes = new TextEncoder().encode(xml);
    try {
      return await this.#options.api.call(
        {
          what: named,
          method: 'POST',
          query: { delete: '' },
          headers: {
            'content-type': 'application/xml',
            ...(this.#options.contentMd5 && { 'content-md5': contentMd5(bytes) }),
          },
          body: bytesBody(bytes),
          signal,
        },
        ({ text }) => readDeleteResult(named, text),
      );
    } catch (error) {
      if (UNSUPPORTED.has(providerCode(error)) || statusOf(error) === 501) return undefined;
      throw error;
    }
  }

  async #oneByOne(keys: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    const deletes = mapOrdered(keys, PARALLEL_DELETES, (key) =>
      this.#options.api.request({
        what: `delete object ${key}`,
        method: 'DELETE',
        key,
        allowed: [404],
        signal,
      }),
    );
    for await (const answer of deletes) void answer;
  }

  /** Some stores answer as if they had deleted, and have not: that would keep paid-for objects for ever, unseen. */
  async #check(keys: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    const key = keys.at(-1);
    if (!this.#options.checksDeletes || key === undefined) return;
    if (!(await this.#isThere(key, signal))) return;
    this.#options.logger.log('warn', 'objects of a batch are still there, deleting one by one', {
      key,
      count: keys.length,
    });
    this.#onlySingle = true;
    await this.#oneByOne(keys, signal);
    if (!(await this.#isThere(key, signal))) return;
    const text = `s3: delete object ${key}: the store reported success and the object is still there`;
    throw new LitestreamError('ERR_STORAGE', text, {
      details: { key, count: keys.length },
      hint: 'look for a retention lock or a rule of the bucket; a lifecycle rule longer than the retention can delete instead',
    });
  }

  async #isThere(key: string, signal: AbortSignal | undefined): Promise<boolean> {
    try {
      const { status } = await this.#options.api.request({
        what: `head object ${key}`,
        method: 'HEAD',
        key,
        headers: this.#options.sse.object,
        allowed: [404],
        signal,
      });
      return status !== 404;
    } catch (error) {
      // A key that may delete and not read.
      if (isLitestreamError(error, 'ERR_STORAGE_DENIED')) return false;
      throw error;
    }
  }

  #refused(errors: DeleteResult['errors']): LitestreamError {
    const { logger } = this.#options;
    for (const { key, code, message } of errors.slice(0, WARNINGS_MAX)) {
      logger.log('warn', 'delete object failed', { s3: { key, code, message } });
    }
    if (errors.length > WARNINGS_MAX) {
      const count = errors.length - WARNINGS_MAX;
      logger.log('warn', 'additional delete errors suppressed', { count });
    }
    const lines = errors.map(({ key, message }) => `\n${key}: ${message}`);
    const denied = errors.every(({ code }) => code === 'AccessDenied');
    return new LitestreamError(
      denied ? 'ERR_STORAGE_DENIED' : 'ERR_STORAGE',
      `failed to delete files:${lines.join('')}`,
      { details: { count: errors.length, providerCode: errors[0]?.code } },
    );
  }
}
