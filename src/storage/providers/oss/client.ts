import { throwIfAborted } from '../../../lib/clock.ts';
import { parseRfc3339 } from '../../../lib/time-text.ts';
import { type Logger, noopLogger } from '../../../telemetry/index.ts';
import type {
  CallOptions,
  FileInfo,
  FileKey,
  ListOptions,
  ReadKey,
  ReadOptions,
  ReplicaClient,
  WriteOptions,
  WriteSource,
} from '../../contract.ts';
import { layoutFor } from '../../layouts.ts';
import { firstKey, HeaderTimes, listedFiles, type UntimedFile } from '../../object-listing.ts';
import { DELETE_BATCH_MAX, named, type OssApi } from './api.ts';
import { Leftovers } from './leftovers.ts';
import { TIMESTAMP_HEADER, Upload, type UploadSettings } from './upload.ts';

const LAYOUT = layoutFor('oss');

export interface OssReplicaOptions extends UploadSettings {
  readonly api: OssApi;
  /** What distinguishes the bucket from others of its name. */
  readonly host: string;
  /** Prefix of all keys; `.` and empty are different. */
  readonly path: string;
  readonly logger?: Logger | undefined;
  /** Releases connections. */
  readonly close: () => void;
}

/** A replica in a bucket of Alibaba Cloud OSS: `P/NNNN/F`. Spec: formats 4, backends 5.7. */
export class OssReplicaClient implements ReplicaClient {
  readonly type = 'oss';
  readonly location: string;
  readonly #api: OssApi;
  readonly #path: string;
  readonly #settings: UploadSettings;
  readonly #times: HeaderTimes;
  readonly #leftovers: Leftovers;
  readonly #close: () => void;

  constructor(options: OssReplicaOptions) {
    const { api, host, path, logger = noopLogger, close, ...settings } = options;
    this.#api = api;
    this.#path = path;
    this.#settings = settings;
    this.#times = new HeaderTimes(this, logger);
    this.#leftovers = new Leftovers(api, path, logger);
    this.#close = close;
    this.location = `oss://${host}/${api.bucket}/${path}`;
  }

  /** Looks for keys; asks the store nothing. */
  async init({ signal }: CallOptions = {}): Promise<void> {
    await Promise.resolve();
    throwIfAborted(signal);
    this.#api.checkKeys();
  }

  async *list(
    level: number,
    { seek, accurateTimes, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    throwIfAborted(signal);
    const prefix = LAYOUT.levelPrefix(this.#path, level);
    const pages = this.#api.pages(prefix, { from: firstKey(prefix, seek), signal });
    yield* listedFiles(pages, {
      level,
      prefix,
      seek,
      signal,
      what: 'oss: list objects page',
      time: (file, { modifiedAt = this.#api.now() }) =>
        accurateTimes === true ? this.#timeOf(file, modifiedAt, signal) : modifiedAt,
    });
  }

  async timeOf(file: FileInfo, { signal }: CallOptions = {}): Promise<number> {
    throwIfAborted(signal);
    return await this.#timeOf(file, file.createdAt, signal);
  }

  async *read(
    key: ReadKey,
    { offset = 0, size = 0, signal }: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(signal);
    const name = LAYOUT.fileKey(this.#path, key);
    const whole = offset === 0 && size === 0;
    const range = `bytes=${offset}-${size === 0 ? '' : offset + size - 1}`;
    const what = `oss: get object ${name}`;
    const response = await this.#api.call(
      {
        method: 'GET',
        key: name,
        // Without the second one the store sends everything for a range that it cannot satisfy.
        headers: whole ? {} : { range, 'x-oss-range-behavior': 'standard' },
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

  async write(key: FileKey, source: WriteSource, options: WriteOptions = {}): Promise<FileInfo> {
    throwIfAborted(options.signal);
    const name = LAYOUT.fileKey(this.#path, key);
    const upload = new Upload(this.#api, name, options, this.#settings);
    const createdAt = await upload.run(source);
    if (upload.inParts) await this.#leftovers.sweep(options.signal);
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: source.size, createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    const names = keys.map((key) => LAYOUT.fileKey(this.#path, key));
    for (let at = 0; at < names.length; at += DELETE_BATCH_MAX) {
      throwIfAborted(signal);
      await this.#api.deleteBatch(names.slice(at, at + DELETE_BATCH_MAX), signal);
    }
  }

  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    for await (const objects of this.#api.pages(`${this.#path}/`, { signal })) {
      throwIfAborted(signal);
      if (objects.length === 0) continue;
      await this.#api.deleteBatch(
        objects.map(({ key }) => key),
        signal,
      );
    }
  }

  async close(): Promise<void> {
    await Promise.resolve();
    this.#close();
  }

  /** The time in the object's metadata, otherwise that in the file's header. */
  async #timeOf(
    file: UntimedFile,
    modifiedAt: number,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const key = LAYOUT.fileKey(this.#path, file);
    const stored = await this.#api.call(
      { method: 'HEAD', key, signal, what: `oss: head object ${key}`, accept: [200, 403, 404] },
      async (response) => {
        await response.discard();
        return response.headers[TIMESTAMP_HEADER] ?? '';
      },
    );
    return parseRfc3339(stored) ?? this.#times.of(file, modifiedAt, signal);
  }
}
