import { randomBytes } from 'node:crypto';
import { LitestreamError } from '../../../lib/errors.ts';
import type { Logger } from '../../../telemetry/index.ts';
import { HttpStatusError } from '../../http/index.ts';
import type { Collections } from './collections.ts';
import type { Session } from './session.ts';
import type { Staged } from './staging.ts';

/** A server may check and copy a file before it answers. */
const ANSWER_TIMEOUT_MS = 120_000;
const STORED = [200, 201, 202, 204];

export interface PublishOptions {
  /** From {@link temporaryName}; the same one for all attempts, which send the same bytes. */
  readonly temporary: string;
  readonly ifAbsent: boolean;
  readonly signal: AbortSignal | undefined;
}

/**
 * Brings files to their names, whole or not at all: uploaded under a temporary name, then moved. Where the server knows no
 * MOVE they are uploaded under the final name, and it is up to the server what readers see meanwhile.
 */
export class Publisher {
  readonly #session: Session;
  readonly #collections: Collections;
  readonly #logger: Logger;
  /** How the target of a MOVE is written. Proxies that end TLS make servers refuse their own address. */
  #destination: 'url' | 'path' | 'no move' = 'url';
  #moveProven = false;

  constructor(session: Session, collections: Collections, logger: Logger) {
    this.#session = session;
    this.#collections = collections;
    this.#logger = logger;
  }

  /**
   * One attempt.
   *
   * @throws LitestreamError `ERR_STORAGE_EXISTS` with `ifAbsent`.
   */
  async publish(path: string, staged: Staged, options: PublishOptions): Promise<void> {
    if (this.#destination === 'no move' || !isPlain(this.#session.decodedTarget(path))) {
      await this.#putFinal(path, staged, options);
      return;
    }
    const { temporary } = options;
    try {
      await this.#put(temporary, staged, {}, options.signal);
      if (await this.#move(temporary, path, options)) {
        if (await this.#hasArrived(path, staged, options.signal)) return;
        this.#destination = 'no move';
      }
    } catch (error) {
      await this.#remove(temporary, error, options.signal);
      throw error;
    }
    await this.#remove(temporary, undefined, options.signal);
    this.#logger.log('warn', 'MOVE does not work on this server: uploads are not atomic', {
      url: this.#session.url(''),
    });
    await this.#putFinal(path, staged, options);
  }

  async #put(
    path: string,
    staged: Staged,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const parent = path.replace(/[^/]*$/, '');
    for (let n = 1; ; n++) {
      await this.#collections.ensure(parent, signal);
      const response = await this.#session.send({
        method: 'PUT',
        path,
        headers: {
          'content-type': 'application/octet-stream',
          // Servers of the Nextcloud family keep it as the file's time.
          'x-oc-mtime': String(Math.floor(staged.createdAt / 1000)),
          ...headers,
        },
        body: staged.body,
        signal,
        idleTimeoutMs: ANSWER_TIMEOUT_MS,
      });
      const { status } = response;
      if (STORED.includes(status)) {
        await response.discard();
        return;
      }
      this.#collections.forget(parent);
      // Somebody has removed the collection meanwhile.
      if ((status !== 404 && status !== 409) || n > 1)
        throw await this.#session.unexpected(response);
      await response.discard();
    }
  }

  /** @returns false if the server knows no MOVE. */
  async #move(from: string, to: string, options: PublishOptions): Promise<boolean> {
    for (;;) {
      const form = this.#destination;
      const response = await this.#session.send({
        method: 'MOVE',
        path: from,
        headers: {
          destination: form === 'path' ? this.#session.target(to) : this.#session.url(to),
          overwrite: options.ifAbsent ? 'F' : 'T',
        },
        signal: options.signal,
        idleTimeoutMs: ANSWER_TIMEOUT_MS,
      });
      const { status } = response;
      if (STORED.includes(status)) {
        await response.discard();
        return true;
      }
      if (status === 412 && options.ifAbsent) {
        await response.discard();
        throw exists();
      }
      if (status === 404) {
        await response.discard();
        throw temporaryGone();
      }
      if (form === 'url' && (status === 400 || status === 502)) this.#destination = 'path';
      else if (status === 405 || status === 501) this.#destination = 'no move';
      else throw await this.#session.unexpected(response);
      await response.discard();
      if (this.#destination === 'no move') return false;
    }
  }

  /** The first MOVE is looked at: there are servers that take the target for something else and say that all is well. */
  async #hasArrived(
    path: string,
    { size }: Staged,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    if (this.#moveProven) return true;
    const response = await this.#session.send({ method: 'HEAD', path, signal });
    const { status, headers } = response;
    await response.discard();
    if (status === 404) return false;
    const found = headers['content-length'];
    this.#moveProven = status === 200 && (found === undefined || Number(found) === size);
    return true;
  }

  /** Not every server heeds the condition, so it is also looked before. */
  async #putFinal(
    path: string,
    staged: Staged,
    { ifAbsent, signal }: PublishOptions,
  ): Promise<void> {
    if (!ifAbsent) {
      await this.#put(path, staged, {}, signal);
      return;
    }
    const status = await this.#session.command({ method: 'HEAD', path, signal }, [200, 204, 404]);
    if (status !== 404) throw exists();
    try {
      await this.#put(path, staged, { 'if-none-match': '*' }, signal);
    } catch (error) {
      if (error instanceof HttpStatusError && error.status === 412) throw exists();
      throw error;
    }
  }

  /** Best effort. A server that cannot be reached is not asked again: the next start of an upload there tidies up. */
  async #remove(path: string, error: unknown, signal: AbortSignal | undefined): Promise<void> {
    const answered = error instanceof HttpStatusError || isExists(error);
    if (error !== undefined && !answered) return;
    try {
      await this.#session.command({ method: 'DELETE', path, signal }, [200, 202, 204, 404]);
    } catch {
      // The first error matters.
    }
  }
}

/** Some servers decode the target of a MOVE before they take it apart, and cut it off at these characters. */
function isPlain(path: string): boolean {
  return !/[#?%;]/.test(path);
}

/** Where a file is until it is complete. Two writers never share one. */
export function temporaryName(path: string): string {
  return `${path}.${randomBytes(6).toString('hex')}.tmp`;
}

function temporaryGone(): LitestreamError {
  return new LitestreamError('ERR_STORAGE_TEMPORARY', 'the uploaded file has gone', {
    retryable: true,
  });
}

function exists(): LitestreamError {
  return new LitestreamError('ERR_STORAGE_EXISTS', 'file exists');
}

function isExists(error: unknown): boolean {
  return error instanceof LitestreamError && error.code === 'ERR_STORAGE_EXISTS';
}
