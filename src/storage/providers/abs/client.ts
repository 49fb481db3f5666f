import type { BlobItem, ContainerClient } from '@azure/storage-blob';
import { present } from '../../../lib/assert.ts';
import { abortError, type Clock, isAborted, throwIfAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import { parseRfc3339 } from '../../../lib/time-text.ts';
import { type Logger, noopLogger } from '../../../telemetry/index.ts';
import type {
  CallOptions,
  FileInfo,
  FileKey,
  ListOptions,
  ObjectInfo,
  ReadOptions,
  ReplicaClient,
  WriteOptions,
  WriteSource,
} from '../../contract.ts';
import { joinPath, layoutFor } from '../../layouts.ts';
import { HeaderTimes, listedFiles } from '../../object-listing.ts';
import { mapOrdered } from '../../streams.ts';
import { Attempts } from './attempts.ts';
import { brokenStream, isMissingBlob } from './errors.ts';
import { TIMESTAMP_KEY, Uploader } from './upload.ts';

const LAYOUT = layoutFor('abs');
const PAGE_SIZE = 5000;
const LISTING = 'abs: cannot list blobs';
const PARALLEL_DELETES = 8;

export interface AbsReplicaOptions {
  readonly container: ContainerClient;
  /** `<endpoint>/<container>`, nothing secret in it. */
  readonly address: string;
  readonly path: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger?: Logger | undefined;
  /** Blobs in one page of a listing. Default 5000, which is what the service gives at most. */
  readonly pageSize?: number | undefined;
}

/** A replica in a container of Azure Blob Storage. Spec: backends 5.4. */
export class AbsReplicaClient implements ReplicaClient {
  readonly type = 'abs';
  readonly location: string;
  readonly #container: ContainerClient;
  readonly #path: string;
  readonly #pageSize: number;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #attempts: Attempts;
  readonly #uploader: Uploader;
  readonly #times: HeaderTimes;

  constructor(options: AbsReplicaOptions) {
    const { container, address, path, clock, random, pageSize = PAGE_SIZE } = options;
    this.#pageSize = pageSize;
    this.#container = container;
    this.#path = path;
    this.#clock = clock;
    this.#attempts = new Attempts({ clock, random, closing: this.#closing.signal });
    this.#uploader = new Uploader(this.#attempts);
    this.#times = new HeaderTimes(this, options.logger ?? noopLogger);
    this.location = `${address}/${joinPath(path)}`;
  }

  /** Contacts nothing: the first request says what is wrong. */
  async init({ signal }: CallOptions = {}): Promise<void> {
    await Promise.resolve();
    throwIfAborted(signal);
  }

  async *list(
    level: number,
    { seek, accurateTimes = false, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    throwIfAborted(signal);
    const prefix = LAYOUT.levelPrefix(this.#path, level);
    yield* listedFiles(this.#blobs(prefix, signal), {
      level,
      prefix,
      seek,
      signal,
      what: LISTING,
      time: (file, { item: { properties, metadata } }) => {
        const stored = parseRfc3339(timestampOf(metadata));
        if (stored !== undefined) return stored;
        // Copies of blobs may have lost their metadata.
        const at = (properties.createdOn ?? properties.lastModified).getTime();
        return accurateTimes ? this.#times.of(file, at, signal) : at;
      },
    });
  }

  async *#blobs(
    prefix: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly ListedBlob[], void, undefined> {
    for await (const page of this.#pages(prefix, LISTING, signal)) {
      yield page.map((item) => ({
        key: item.name,
        size: item.properties.contentLength ?? 0,
        item,
      }));
    }
  }

  read(key: FileKey, options: ReadOptions = {}): AsyncIterable<Uint8Array> {
    return this.#download(LAYOUT.fileKey(this.#path, key), options);
  }

  async *listObjects(
    folder: string,
    { signal }: CallOptions = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    throwIfAborted(signal);
    const root = joinPath(this.#path);
    const skip = root === '' || root === '.' ? 0 : root.length + 1;
    const prefix = `${joinPath(this.#path, folder)}/`;
    for await (const page of this.#pages(prefix, LISTING, signal)) {
      for (const { name, properties } of page) {
        throwIfAborted(signal);
        const modifiedAt = properties.lastModified.getTime();
        yield { key: name.slice(skip), size: properties.contentLength ?? 0, modifiedAt };
      }
    }
  }

  readObject({ key }: ObjectInfo, options: ReadOptions = {}): AsyncIterable<Uint8Array> {
    return this.#download(joinPath(this.#path, key), options);
  }

  async write(key: FileKey, source: WriteSource, options: WriteOptions = {}): Promise<FileInfo> {
    throwIfAborted(options.signal);
    const name = LAYOUT.fileKey(this.#path, key);
    const blob = this.#container.getBlockBlobClient(name);
    const what = `abs: cannot upload ltx file "${name}"`;
    const createdAt = await this.#uploader.upload(blob, source, { ...options, what });
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: source.size, createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    const names = keys.map((key) => LAYOUT.fileKey(this.#path, key));
    await this.#deleteBlobs(names, (name) => `abs: cannot delete ltx file "${name}"`, signal);
  }

  /** Without a path only what a replica can have stored: a whole container is more than was meant. */
  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    const root = joinPath(this.#path);
    const prefixes = root === '' || root === '.' ? ['ltx/', 'generations/'] : [`${root}/`];
    for (const prefix of prefixes) {
      for await (const page of this.#pages(prefix, LISTING, signal)) {
        const names = page.map(({ name }) => name);
        await this.#deleteBlobs(names, (name) => `abs: cannot delete blob "${name}"`, signal);
      }
    }
  }

  /** Ends what is under way with `ERR_ABORTED`. */
  async close(): Promise<void> {
    await Promise.resolve();
    this.#closing.abort(new LitestreamError('ERR_ABORTED', 'abs: the client is closed'));
  }

  async #deleteBlobs(
    names: readonly string[],
    what: (name: string) => string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const deletes = mapOrdered(names, PARALLEL_DELETES, async (name) => {
      const blob = this.#container.getBlobClient(name);
      try {
        await this.#attempts.run({ what: what(name), signal }, (abortSignal) =>
          blob.delete({ abortSignal }),
        );
      } catch (error) {
        if (!isMissingBlob(error)) throw error;
      }
    });
    while ((await deletes.next()).done !== true);
  }

  async *#pages(
    prefix: string,
    what: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly BlobItem[], void, undefined> {
    let continuationToken: string | undefined;
    do {
      const token: string | undefined = continuationToken;
      const step = await this.#attempts.run({ what, signal }, (abortSignal) =>
        this.#container
          .listBlobsFlat({ prefix, includeMetadata: true, abortSignal })
          .byPage({
            maxPageSize: this.#pageSize,
            ...(token !== undefined && { continuationToken: token }),
          })
          .next(),
      );
      if (step.done === true) return;
      yield step.value.segment.blobItems;
      continuationToken = step.value.continuationToken || undefined;
    } while (continuationToken !== undefined);
  }

  async *#download(
    name: string,
    { offset = 0, size = 0, signal: caller }: ReadOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(caller);
    const what = `abs: cannot start new reader for "${name}"`;
    const blob = this.#container.getBlobClient(name);
    const stop = new AbortController();
    const signal = this.#attempts.signal(caller);
    try {
      const response = await this.#attempts.run({ what, signal: caller }, (abortSignal) =>
        blob.download(offset, size === 0 ? undefined : size, {
          abortSignal: AbortSignal.any([abortSignal, stop.signal]),
          maxRetryRequests: 0,
        }),
      );
      yield* this.#body(present(response.readableStreamBody, 'body'), signal);
    } catch (error) {
      if (isRangeBehindEnd(error)) return;
      if (!isMissingBlob(error) || !(error instanceof LitestreamError)) throw error;
      throw new LitestreamError('ERR_STORAGE_NOT_FOUND', error.message, {
        details: { ...error.details, key: name },
        cause: error,
        ...(error.hint !== undefined && { hint: error.hint }),
      });
    } finally {
      stop.abort();
    }
  }

  async *#body(
    body: NodeJS.ReadableStream,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of body) {
        if (typeof chunk === 'string' || chunk.length === 0) continue;
        yield new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
        throwIfAborted(signal);
      }
    } catch (error) {
      if (isAborted(signal)) throw abortError(signal);
      throw brokenStream(error, this.#clock);
    }
  }
}

interface ListedBlob {
  readonly key: string;
  readonly size: number;
  readonly item: BlobItem;
}

/** Libraries spell names of metadata as they like: they come and go as HTTP headers. */
function timestampOf(metadata: Readonly<Record<string, string>> = {}): string {
  const found = Object.entries(metadata).find(([name]) => name.toLowerCase() === TIMESTAMP_KEY);
  return found?.[1] ?? '';
}

function isRangeBehindEnd(error: unknown): boolean {
  return error instanceof LitestreamError && error.details['status'] === 416;
}
