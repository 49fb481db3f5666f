import { formatTxid } from '../formats/ltx/index.ts';
import { type Clock, sleep, throwIfAborted } from '../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../lib/errors.ts';
import type { FileSystem, OpenFile } from '../lib/file-system.ts';
import { isMissing } from '../lib/os-error.ts';
import {
  type Download,
  downloadOf,
  type FileInfo,
  type ObjectInfo,
  type ReplicaClient,
} from '../storage/index.ts';
import { fileDamage } from './damage.ts';

/** What reading a replica's files needs. */
export interface SourceContext {
  readonly client: ReplicaClient;
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Reads a part of one file from front to back. */
export interface RangeReader {
  /** Fills the whole target. @throws LitestreamError `ERR_LTX_CORRUPTED` if the file ends before. */
  fill(target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

const RETRY_BASE_MS = 250;
const RETRY_MAX_MS = 10_000;
/** Attempts in a row that bring no byte: about a minute. */
const RETRIES = 9;
/** An attempt that ends before so many bytes is hardly one; more than two in a row, and the store never delivers the whole. */
const CRUMB_BYTES = 64 * 1024;
const CRUMBS = 2;

/** True if the file is gone: retention or compaction was faster. */
export function isGone(error: unknown): boolean {
  return isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND') || isMissing(error);
}

function endsEarly(file: FileInfo, offset: number): LitestreamError {
  return fileDamage(file, 'unexpected EOF', {
    field: 'file',
    offset,
    expected: `${file.size} bytes`,
    found: 'end of file',
  });
}

/**
 * Repeats requests, on top of the few quick retries and the idle limit of the client itself. Only attempts that bring nothing, or
 * next to nothing, count: a store that closes long streams again and again, or refuses everything for a minute, does not end a
 * restore; one that cuts every answer short does. Spec: failures RST-03, RST-09.
 */
class Patience {
  readonly #context: Pick<SourceContext, 'clock' | 'signal'>;
  #failures = 0;
  #crumbs = 0;
  /** Since the last failure. */
  #bytes = 0;

  constructor(context: Pick<SourceContext, 'clock' | 'signal'>) {
    this.#context = context;
  }

  /** Some bytes have arrived. */
  progress(bytes: number): void {
    this.#failures = 0;
    this.#bytes += bytes;
    if (this.#bytes >= CRUMB_BYTES) this.#crumbs = 0;
  }

  /** Returns, later, if the request should be repeated, else throws; `giveUp` makes the error of the last attempt. */
  async recover(error: unknown, giveUp: (cause: unknown) => LitestreamError): Promise<void> {
    const { clock, signal } = this.#context;
    throwIfAborted(signal);
    if (!isLitestreamError(error) || !error.retryable || isGone(error)) throw error;
    this.#failures += 1;
    if (this.#bytes > 0 && this.#bytes < CRUMB_BYTES) this.#crumbs += 1;
    this.#bytes = 0;
    if (this.#failures > RETRIES || this.#crumbs > CRUMBS) throw giveUp(error);
    await sleep(clock, Math.min(RETRY_BASE_MS * 2 ** (this.#failures - 1), RETRY_MAX_MS), signal);
  }
}

function earlyEnd(): LitestreamError {
  return new LitestreamError('ERR_STORAGE_TEMPORARY', 'unexpected EOF', { retryable: true });
}

/** Positioned reads from a file on this machine. Opens with the first read. */
class LocalReader implements RangeReader {
  readonly #context: SourceContext;
  readonly #file: FileInfo;
  readonly #path: string;
  #handle: OpenFile | undefined;
  #position: number;

  constructor(context: SourceContext, file: FileInfo, path: string, offset: number) {
    this.#context = context;
    this.#file = file;
    this.#path = path;
    this.#position = offset;
  }

  async fill(target: Uint8Array): Promise<void> {
    throwIfAborted(this.#context.signal);
    this.#handle ??= await this.#context.fileSystem.open('restore:open', this.#path, 'read');
    const read = await this.#handle.read('restore:read', target, this.#position);
    this.#position += read;
    if (read < target.length) throw endsEarly(this.#file, this.#position);
  }

  async close(): Promise<void> {
    await this.#handle?.close();
  }
}

/** One ranged request that is repeated from where it broke off. */
class RemoteReader implements RangeReader {
  readonly #context: SourceContext;
  readonly #file: FileInfo;
  readonly #end: number;
  #position: number;
  readonly #patience: Patience;
  #download: Download | undefined;
  #request: AbortController | undefined;

  constructor(context: SourceContext, file: FileInfo, offset: number, size: number) {
    this.#context = context;
    this.#file = file;
    this.#position = offset;
    this.#end = offset + size;
    this.#patience = new Patience(context);
  }

  async fill(target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      throwIfAborted(this.#context.signal);
      try {
        this.#download ??= await this.#open();
        const count = await this.#download.fill(target.subarray(done));
        if (count === 0) throw earlyEnd();
        done += count;
        this.#position += count;
        this.#patience.progress(count);
      } catch (error) {
        await this.#recover(error);
      }
    }
  }

  close(): Promise<void> {
    this.#drop();
    return Promise.resolve();
  }

  async #open(): Promise<Download> {
    const { client, signal } = this.#context;
    this.#request = new AbortController();
    const options = {
      offset: this.#position,
      size: this.#end - this.#position,
      signal: AbortSignal.any([signal, this.#request.signal]),
    };
    if (client.open !== undefined) return await client.open(this.#file, options);
    return downloadOf(client.read(this.#file, options));
  }

  /** Ends the request without waiting for a stream that may never answer. */
  #drop(): void {
    this.#request?.abort();
    this.#download?.close();
    this.#download = undefined;
  }

  /** Returns if the request should be repeated, else throws. */
  async #recover(error: unknown): Promise<void> {
    this.#drop();
    const { level, minTxid, maxTxid } = this.#file;
    const offset = this.#position;
    await this.#patience.recover(error, (cause) => {
      const where = `level=${level}, min=${formatTxid(minTxid)}, max=${formatTxid(maxTxid)}, offset=${offset}`;
      return new LitestreamError(
        'ERR_STORAGE',
        `max retries exceeded reading ltx file (${where}): ${errorMessage(cause)}`,
        { cause, retryable: true, details: { level, minTxid, maxTxid, offset } },
      );
    });
  }
}

/** The bytes of an object of another layout, with the same patience. */
export async function* readObject(
  context: SourceContext,
  object: ObjectInfo,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { client, signal } = context;
  const patience = new Patience(context);
  let offset = 0;
  for (;;) {
    try {
      for await (const chunk of client.readObject?.(object, { offset, signal }) ?? []) {
        offset += chunk.length;
        patience.progress(chunk.length);
        yield chunk;
      }
      if (offset >= object.size) return;
      throw earlyEnd();
    } catch (error) {
      const { key } = object;
      await patience.recover(error, (cause) => {
        const message = `max retries exceeded reading ${key} at ${offset}: ${errorMessage(cause)}`;
        const details = { path: key, offset };
        return new LitestreamError('ERR_STORAGE', message, { cause, retryable: true, details });
      });
    }
  }
}

/** A reader of `[offset, offset + size)`. Nothing is opened before the first read. */
export function openRange(
  context: SourceContext,
  file: FileInfo,
  offset: number,
  size: number,
): RangeReader {
  const path = context.client.localPath?.(file);
  if (path !== undefined) return new LocalReader(context, file, path, offset);
  return new RemoteReader(context, file, offset, size);
}

/** `[offset, offset + size)` of a file in memory. */
export async function readRange(
  context: SourceContext,
  file: FileInfo,
  offset: number,
  size: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = openRange(context, file, offset, size);
  try {
    const bytes = new Uint8Array(size);
    await reader.fill(bytes);
    return bytes;
  } finally {
    await reader.close();
  }
}
