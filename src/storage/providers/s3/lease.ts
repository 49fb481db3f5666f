import type { Clock } from '../../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import { formatRfc3339, parseRfc3339 } from '../../../lib/time-text.ts';
import type { Logger } from '../../../telemetry/index.ts';
import type { CallOptions } from '../../contract.ts';
import { parseHttpDate } from '../../http/index.ts';
import {
  type HeldLease,
  LEASE_TTL_MS,
  leaseHeld,
  leaseNotHeld,
  type LeaseRecord,
  type LeaseStore,
} from '../../lease.ts';
import type { S3Answer, S3Api, S3Request } from './api.ts';
import { bytesBody } from './body.ts';
import { providerCode, statusOf, UNSUPPORTED } from './errors.ts';

const NAME = 'lock.json';
/** A lease that is renewed late is lost: long retries help nobody. */
const ATTEMPTS = 4;
const RECORD_SIZE_MAX = 64 * 1024;

export interface S3LeaseOptions {
  readonly api: S3Api;
  /** The replica's path. */
  readonly path: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

type Signal = AbortSignal | undefined;

/** The lease in `lock.json`, in the reference's format. Times are those of the store. Spec: backends 6, formats 4.6. */
export class S3LeaseStore implements LeaseStore {
  readonly #options: S3LeaseOptions;
  readonly #key: string;
  /** The store's clock minus ours. */
  #clockOffsetMs = 0;
  /** The store has been seen to refuse an upload over an existing object. */
  #proven = false;

  constructor(options: S3LeaseOptions) {
    this.#options = options;
    this.#key = options.path === '' ? NAME : `${options.path}/${NAME}`;
  }

  async acquire(owner: string, { signal }: CallOptions = {}): Promise<HeldLease> {
    const found = await this.#get(signal, 'read existing lease');
    if (found !== undefined && this.#now() <= found.expiresAt) {
      throw leaseHeld(found, this.#now());
    }
    const wanted = this.#record((found?.generation ?? 0) + 1, owner);
    const condition = found === undefined ? { 'if-none-match': '*' } : { 'if-match': found.etag };
    const lease = await this.#put(wanted, condition, signal);
    if (lease === undefined) {
      throw leaseHeld(await this.#winner(signal), this.#now());
    }
    if (!this.#proven) await this.#prove(wanted, signal);
    this.#log('lease acquired', lease);
    return lease;
  }

  async renew(lease: HeldLease, { signal }: CallOptions = {}): Promise<HeldLease> {
    const wanted = this.#record(lease.generation, lease.owner);
    let renewed = await this.#put(wanted, { 'if-match': lease.etag }, signal);
    if (renewed === undefined) {
      // An earlier renewal may have got through although nobody heard of it. A takeover would have another number.
      const found = await this.#get(signal, 'read existing lease');
      if (found?.generation !== lease.generation || found.owner !== lease.owner) {
        throw leaseNotHeld();
      }
      renewed = await this.#put(wanted, { 'if-match': found.etag }, signal);
    }
    if (renewed === undefined) throw leaseNotHeld();
    this.#log('lease renewed', renewed);
    return renewed;
  }

  async release(lease: HeldLease, { signal }: CallOptions = {}): Promise<void> {
    // Some stores ignore the condition of a deletion.
    const found = await this.#get(signal, 'delete lease');
    if (found === undefined) throw leaseNotHeld('lease already released');
    if (found.etag !== lease.etag) throw leaseNotHeld();
    try {
      await this.#send({ method: 'DELETE', headers: { 'if-match': lease.etag }, signal });
    } catch (error) {
      if (statusOf(error) === 404) throw leaseNotHeld('lease already released');
      if (isPrecondition(error)) throw leaseNotHeld();
      if (!UNSUPPORTED.has(providerCode(error)) && statusOf(error) !== 501) throw error;
      // Without conditional deletions: an end in the past gives it away, too.
      const ended = { ...lease, expiresAt: this.#now() - 1000 };
      await this.#put(ended, { 'if-match': lease.etag }, signal);
    }
    this.#log('lease released', lease);
  }

  #now(): number {
    return this.#options.clock.now() + this.#clockOffsetMs;
  }

  #record(generation: number, owner: string): LeaseRecord {
    return { generation, owner, expiresAt: this.#now() + LEASE_TTL_MS };
  }

  #log(message: string, { generation, owner, expiresAt }: HeldLease): void {
    const expires_at = formatRfc3339(expiresAt);
    this.#options.logger.log('debug', message, { generation, owner, expires_at });
  }

  async #winner(signal: Signal): Promise<HeldLease | undefined> {
    try {
      return await this.#get(signal, 'read existing lease');
    } catch (error) {
      if (isLitestreamError(error, 'ERR_ABORTED')) throw error;
      return undefined;
    }
  }

  async #get(signal: Signal, what: string): Promise<HeldLease | undefined> {
    const answer = await this.#send({ method: 'GET', allowed: [404], signal, what });
    const theirs = parseHttpDate(answer.headers['date'] ?? '');
    if (theirs !== undefined) this.#clockOffsetMs = theirs - this.#options.clock.now();
    if (answer.status === 404) return undefined;
    return { ...decode(answer.text), etag: etagOf(answer) };
  }

  /** Undefined if the condition was not met and what is there is not what we wanted to write. */
  async #put(
    wanted: LeaseRecord,
    condition: Readonly<Record<string, string>>,
    signal: Signal,
  ): Promise<HeldLease | undefined> {
    const body = bytesBody(encode(wanted));
    try {
      const answer = await this.#send({
        what: 'put lock file',
        method: 'PUT',
        headers: { 'content-type': 'application/json', ...condition },
        body,
        signal,
      });
      return { ...wanted, etag: etagOf(answer) };
    } catch (error) {
      if (!isPrecondition(error) && statusOf(error) !== 404) throw error;
    }
    // The answer to an earlier attempt may have been lost.
    const found = await this.#winner(signal);
    return found !== undefined && sameRecord(found, wanted) ? found : undefined;
  }

  /** Where conditions are ignored every contender wins: the same upload once more has to be refused. */
  async #prove(wanted: LeaseRecord, signal: Signal): Promise<void> {
    const body = bytesBody(encode(wanted));
    try {
      await this.#send({
        what: 'put lock file',
        method: 'PUT',
        headers: { 'content-type': 'application/json', 'if-none-match': '*' },
        body,
        signal,
      });
    } catch (error) {
      if (!isPrecondition(error)) throw error;
      this.#proven = true;
      return;
    }
    await this.#send({ method: 'DELETE', allowed: [404], signal });
    throw new LitestreamError(
      'ERR_STORAGE',
      's3: the store ignores If-None-Match: no lease is possible',
      {
        details: { key: this.#key },
        hint: 'remove `lease` from the configuration, or use a store with conditional writes',
      },
    );
  }

  #send(request: Omit<S3Request, 'key' | 'what'> & { readonly what?: string }): Promise<S3Answer> {
    const what = `${request.what ?? 'lease'} ${this.#key}`;
    return this.#options.api.request({ attempts: ATTEMPTS, ...request, what, key: this.#key });
  }
}

function isPrecondition(error: unknown): boolean {
  return statusOf(error) === 412 || /^(?:PreconditionFailed|412)$/.test(providerCode(error));
}

function etagOf({ headers }: S3Answer): string {
  const etag = headers['etag'] ?? '';
  if (etag === '') throw new LitestreamError('ERR_STORAGE', 's3: put lock file: no ETag returned');
  return etag;
}

function sameRecord(a: LeaseRecord, b: LeaseRecord): boolean {
  return a.generation === b.generation && a.owner === b.owner && a.expiresAt === b.expiresAt;
}

function encode({ generation, expiresAt, owner }: LeaseRecord): Uint8Array {
  const record = {
    generation,
    expires_at: formatRfc3339(expiresAt),
    ...(owner !== '' && { owner }),
  };
  return new TextEncoder().encode(JSON.stringify(record));
}

function undecodable(reason: string): LitestreamError {
  return new LitestreamError('ERR_STORAGE', `decode lock file: ${reason}`, {
    hint: 'another program has written lock.json; remove it if nobody uses the replica',
  });
}

function decode(text: string): LeaseRecord {
  if (text.length > RECORD_SIZE_MAX) throw undecodable('too long');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw undecodable(error instanceof Error ? error.message : String(error));
  }
  if (typeof value !== 'object' || value === null) throw undecodable('no object');
  const fields: Partial<Record<string, unknown>> = { ...value };
  const { generation, expires_at: expires, owner = '' } = fields;
  if (typeof generation !== 'number' || !Number.isSafeInteger(generation)) {
    throw undecodable('generation is no integer');
  }
  const expiresAt = typeof expires === 'string' ? parseRfc3339(expires) : undefined;
  if (expiresAt === undefined) throw undecodable('expires_at is no time');
  if (typeof owner !== 'string') throw undecodable('owner is no text');
  return { generation, expiresAt, owner };
}
