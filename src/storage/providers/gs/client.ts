import { throwIfAborted } from '../../../lib/clock.ts';
import { parseRfc3339 } from '../../../lib/time-text.ts';
import { type Logger, noopLogger } from '../../../telemetry/index.ts';
import type {
  CallOptions,
  FileInfo,
  FileKey,
  ListOptions,
  ObjectInfo,
  ReadKey,
  ReadOptions,
  ReplicaClient,
  WriteOptions,
  WriteSource,
} from '../../contract.ts';
import { joinPath, layoutFor } from '../../layouts.ts';
import { firstKey, HeaderTimes, listedFiles } from '../../object-listing.ts';
import { mapOrdered } from '../../streams.ts';
import { type GsApi, named } from './api.ts';
import { Upload } from './upload.ts';

const LAYOUT = layoutFor('gs');
const PARALLEL_DELETES = 16;

export interface GsReplicaOptions {
  readonly api: GsApi;
  readonly path: string;
  readonly logger?: Logger | undefined;
  /** Releases connections. */
  readonly close?: (() => void) | undefined;
}

/** A replica in a bucket of Google Cloud Storage: `P/ltx/N/F`. Spec: formats 4, backends 5.3. */
export class GsReplicaClient implements ReplicaClient {
  readonly type = 'gs';
  readonly location: string;
  readonly #api: GsApi;
  readonly #path: string;
  readonly #times: HeaderTimes;
  readonly #close: () => void;

  constructor({ api, path, logger = noopLogger, close }: GsReplicaOptions) {
    this.#api = api;
    this.#path = path;
    this.#times = new HeaderTimes(this, logger);
    this.#close =
      close ??
      (() => {
        // The connections belong to somebody else.
      });
    this.location = `gs://${api.bucket}/${joinPath(path)}`;
  }

  /** Resolves the credentials; asks the store nothing. */
  async init({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    await this.#api.authorize(signal);
  }

  async *list(
    level: number,
    { seek, accurateTimes, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    throwIfAborted(signal);
    const prefix = LAYOUT.levelPrefix(this.#path, level);
    const what = this.#listing();
    const pages = this.#api.pages(prefix, { from: firstKey(prefix, seek), signal, what });
    yield* listedFiles(pages, {
      level,
      prefix,
      seek,
      signal,
      what,
      time: (file, { timestamp, modifiedAt }) => {
        const known = parseRfc3339(timestamp);
        if (known !== undefined) return known;
        return accurateTimes === true ? this.#times.of(file, modifiedAt, signal) : modifiedAt;
      },
    });
  }

  async *read(
    key: ReadKey,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#stream(LAYOUT.fileKey(this.#path, key), options);
  }

  async write(key: FileKey, source: WriteSource, options: WriteOptions = {}): Promise<FileInfo> {
    throwIfAborted(options.signal);
    const upload = new Upload(this.#api, LAYOUT.fileKey(this.#path, key), options);
    const createdAt = await upload.run(source);
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: source.size, createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    const names = keys.map((key) => LAYOUT.fileKey(this.#path, key));
    await this.#removeAll(names, 'ltx file', signal);
  }

  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    const what = this.#listing();
    for (const prefix of this.#prefixes()) {
      for await (const page of this.#api.pages(prefix, { signal, what })) {
        const names = page.map(({ key }) => key);
        await this.#removeAll(names, 'object', signal);
      }
    }
  }

  async *listObjects(
    folder: string,
    { signal }: CallOptions = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    throwIfAborted(signal);
    const root = this.#prefix();
    const what = this.#listing();
    for await (const page of this.#api.pages(`${root}${folder}/`, { signal, what })) {
      for (const { key, size, modifiedAt } of page) {
        throwIfAborted(signal);
        yield { key: key.slice(root.length), size, modifiedAt };
      }
    }
  }

  async *readObject(
    { key }: ObjectInfo,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#stream(this.#prefix() + key, options);
  }

  async close(): Promise<void> {
    await Promise.resolve();
    this.#close();
  }

  #listing(): string {
    return `failed to list objects in GCS bucket ${this.#api.bucket} (path: ${this.#path})`;
  }

  /** What all keys begin with. */
  #prefix(): string {
    const path = joinPath(this.#path);
    return path === '' || path === '.' ? '' : `${path}/`;
  }

  /** Without a path the bucket may hold anything; only what is known to be a replica's goes then. */
  #prefixes(): readonly string[] {
    const prefix = this.#prefix();
    return prefix === '' ? ['ltx/', 'generations/'] : [prefix];
  }

  async #removeAll(names: readonly string[], kind: string, signal?: AbortSignal): Promise<void> {
    const removed = mapOrdered(names, PARALLEL_DELETES, async (name) => {
      throwIfAborted(signal);
      await this.#api.remove(name, `gs: cannot delete ${kind} "${name}"`, signal);
      return true;
    });
    for await (const done of removed) if (done) throwIfAborted(signal);
  }

  async *#stream(
    name: string,
    { offset = 0, size = 0, signal }: ReadOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(signal);
    const whole = offset === 0 && size === 0;
    const range = `bytes=${offset}-${size === 0 ? '' : offset + size - 1}`;
    const what = `gs: get object "${name}"`;
    const response = await this.#api.call(
      {
        method: 'GET',
        path: `${this.#api.objectPath(name)}?alt=media`,
        headers: whole ? {} : { range },
        subject: 'object',
        accept: whole ? [200] : [206, 416],
        what,
        signal,
      },
      (answer) => Promise.resolve(answer),
    );
    if (response.status === 416) {
      // At or behind the end.
      await response.discard();
      return;
    }
    try {
      yield* response.body;
    } catch (error) {
      throw named(what, error);
    }
  }
}
