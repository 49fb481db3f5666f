import { formatTxid } from '../../formats/ltx/index.ts';
import { present } from '../../lib/assert.ts';
import { abortError, type Clock, sleep } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError, wrapError } from '../../lib/errors.ts';
import { type Logger, noopLogger } from '../../telemetry/index.ts';
import type { FileKey, ReadOptions, ReplicaClient } from '../contract.ts';
import { abandon, raceAbort } from '../streams.ts';
import { forwarding } from './forwarding.ts';

/** Waits before the first, second and third retry. None at once: a provider's throttle window would see them all. */
const RETRY_DELAYS_MS = [250, 500, 1000] as const;
const IDLE_TIMEOUT_MS = 30_000;

export interface ResumableReadPorts {
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /** Longest wait for the next bytes of a stream, in milliseconds. Default 30000. */
  readonly idleTimeoutMs?: number | undefined;
}

/**
 * The client, with reads that survive broken, ended and silent connections: the rest is asked for again from the first byte
 * not yet delivered, at most three times per read, 250, 500 and 1000 ms later. An early end is noticed if the key carries
 * the file's size. A file that is gone and an abort are never retried. Spec: replication 17.5, backends 1.11.
 */
export function resumableReads(client: ReplicaClient, ports: ResumableReadPorts): ReplicaClient {
  return forwarding(client, {
    read: (key, options) => {
      const file: Source = {
        size: key.size,
        ...namesOfFile(key),
        open: (range) => client.read(key, range),
      };
      return new ResumableRead(file, options ?? {}, ports).run();
    },
    ...(client.readObject && {
      readObject: (object, options) => {
        const { key, size } = object;
        const source: Source = {
          size,
          kind: 'object',
          text: `key=${key}`,
          attributes: { key },
          open: (range) => present(client.readObject?.(object, range), 'stream'),
        };
        return new ResumableRead(source, options ?? {}, ports).run();
      },
    }),
  });
}

/** What is read. */
interface Source {
  /** Bytes of the whole, if known. */
  readonly size: number | undefined;
  readonly kind: 'ltx file' | 'object';
  /** Its name in error messages and in log lines. */
  readonly text: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  open(range: ReadOptions): AsyncIterable<Uint8Array>;
}

function namesOfFile({
  level,
  minTxid,
  maxTxid,
}: FileKey): Pick<Source, 'kind' | 'text' | 'attributes'> {
  return {
    kind: 'ltx file',
    text: `level=${level}, min=${formatTxid(minTxid)}, max=${formatTxid(maxTxid)}`,
    attributes: { level, min: minTxid, max: maxTxid },
  };
}

class ResumableRead {
  readonly #source: Source;
  readonly #signal: AbortSignal | undefined;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #idleTimeoutMs: number;
  /** End of the range that was asked for; undefined = end of the file. */
  readonly #rangeEnd: number | undefined;
  /** Where the bytes must end; undefined if that is not known. */
  readonly #expectedEnd: number | undefined;
  /** First byte not yet delivered. */
  #offset: number;
  #retries = 0;

  constructor(
    source: Source,
    { offset = 0, size = 0, signal }: ReadOptions,
    { clock, logger = noopLogger, idleTimeoutMs = IDLE_TIMEOUT_MS }: ResumableReadPorts,
  ) {
    this.#source = source;
    this.#signal = signal;
    this.#clock = clock;
    this.#logger = logger;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#offset = offset;
    this.#rangeEnd = size > 0 ? offset + size : undefined;
    const fileSize = source.size !== undefined && source.size > 0 ? source.size : undefined;
    this.#expectedEnd =
      fileSize === undefined ? undefined : Math.min(fileSize, this.#rangeEnd ?? fileSize);
  }

  async *run(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const from = this.#offset;
      let cause: unknown;
      try {
        for await (const chunk of this.#attempt()) {
          this.#offset += chunk.length;
          yield chunk;
        }
        if (this.#complete(true)) return;
        cause = new LitestreamError('ERR_STORAGE_TEMPORARY', 'unexpected EOF', { retryable: true });
        this.#log(`premature EOF on ${this.#source.kind}, reconnecting`, cause);
      } catch (error) {
        if (this.#complete(false)) return;
        this.#throwIfFinal(error);
        cause = error;
        const { kind } = this.#source;
        const reopening = this.#retries > 0 && this.#offset === from;
        this.#log(
          reopening ? `reopen ${kind} failed, retrying` : `read error on ${kind}, reconnecting`,
          error,
        );
      }
      await this.#backOff(cause);
    }
  }

  /** One stream from the current offset on, with a bound on each wait for bytes. */
  async *#attempt(): AsyncGenerator<Uint8Array, void, undefined> {
    const stop = new AbortController();
    const onAbort = (): void => stop.abort(abortError(this.#signal));
    if (this.#signal?.aborted === true) throw abortError(this.#signal);
    this.#signal?.addEventListener('abort', onAbort, { once: true });
    const stream = this.#source.open({
      offset: this.#offset,
      size: this.#rangeEnd === undefined ? 0 : this.#rangeEnd - this.#offset,
      signal: stop.signal,
    });
    const iterator = stream[Symbol.asyncIterator]();
    let waiting = false;
    try {
      for (;;) {
        waiting = true;
        const step = await this.#withinIdleTimeout(raceAbort(iterator.next(), stop.signal));
        waiting = false;
        if (step.done === true) return;
        yield step.value;
      }
    } finally {
      this.#signal?.removeEventListener('abort', onAbort);
      if (waiting) {
        stop.abort();
        abandon(iterator);
      } else {
        await iterator.return?.();
      }
    }
  }

  #withinIdleTimeout<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.timer(this.#idleTimeoutMs, () => {
        const message = `no bytes received for ${this.#idleTimeoutMs / 1000} s`;
        reject(new LitestreamError('ERR_STORAGE_TEMPORARY', message, { retryable: true }));
      });
      work.then(
        (value) => {
          timer.cancel();
          resolve(value);
        },
        (error: unknown) => {
          timer.cancel();
          reject(error);
        },
      );
    });
  }

  /** True if every byte has been delivered. Without a known size only the stream itself can say so. */
  #complete(streamEnded: boolean): boolean {
    if (this.#rangeEnd !== undefined && this.#offset >= this.#rangeEnd) return true;
    return this.#expectedEnd === undefined ? streamEnded : this.#offset >= this.#expectedEnd;
  }

  #throwIfFinal(error: unknown): void {
    if (this.#signal?.aborted === true) throw abortError(this.#signal);
    // Providers translate their errors; anything else is a fault of the program.
    if (!isLitestreamError(error) || error.code === 'ERR_ASSERTION') throw error;
    if (error.code !== 'ERR_STORAGE_NOT_FOUND' && error.code !== 'ERR_ABORTED') return;
    if (this.#retries === 0) throw error;
    throw wrapError(`reopen ${this.#source.kind} at offset ${this.#offset}`, error);
  }

  async #backOff(cause: unknown): Promise<void> {
    const delayMs = RETRY_DELAYS_MS[this.#retries];
    this.#retries++;
    if (delayMs === undefined) {
      const where = `${this.#source.text}, offset=${this.#offset}`;
      throw wrapError(`max retries exceeded reading ${this.#source.kind} (${where})`, cause);
    }
    await sleep(this.#clock, delayMs, this.#signal);
  }

  #log(message: string, cause: unknown): void {
    const error = cause instanceof Error ? cause : undefined;
    const { attributes } = this.#source;
    this.#logger.log('debug', message, { ...attributes, offset: this.#offset, error });
  }
}
