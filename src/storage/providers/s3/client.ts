import { matchFileName, NO_TXID } from '../../../formats/ltx/index.ts';
import { throwIfAborted } from '../../../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import { parseRfc3339 } from '../../../lib/time-text.ts';
import type {
  CallOptions,
  Download,
  FileInfo,
  FileKey,
  ListOptions,
  ObjectInfo,
  ReadOptions,
  ReplicaClient,
  WriteOptions,
  WriteSource,
} from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import { joinPath, layoutFor } from '../../layouts.ts';
import type { LeaseStore } from '../../lease.ts';
import type { S3Location } from '../../locations.ts';
import { collect, downloadOf, mapOrdered, raceAbort } from '../../streams.ts';
import type { HttpResponse } from '../../http/index.ts';
import { ConditionalUploads } from './conditional.ts';
import { S3LeaseStore } from './lease.ts';
import { listObjects } from './listing.ts';
import { firstByte, type ObjectRange, rangeOf, within } from './object-range.ts';
import { openSession, type S3Ports, type S3Session } from './session.ts';

const LAYOUT = layoutFor('s3');
const PARALLEL_HEADS = 50;
const TIMESTAMP_HEADER = 'x-amz-meta-litestream-timestamp';

interface Opened extends S3Session {
  readonly conditional: ConditionalUploads;
  readonly leases: LeaseStore;
}

/** A replica in a bucket: `P/NNNN/F`. Spec: formats 4, backends 5.2. */
export class S3ReplicaClient implements ReplicaClient {
  readonly type = 's3';
  readonly location: string;
  readonly #location: S3Location;
  readonly #ports: S3Ports;
  #opened: Promise<Opened> | undefined;
  #stop = new AbortController();
  #toldLossOfTime = false;

  constructor(location: S3Location, ports: S3Ports) {
    this.#location = location;
    this.#ports = ports;
    const endpoint = location.endpoint.replace(/\/\/[^/@]*@/, '//');
    const query = endpoint === '' ? '' : `?endpoint=${endpoint}`;
    this.location = `s3://${location.bucket}/${location.path}${query}`;
  }

  async init({ signal }: CallOptions = {}): Promise<void> {
    await this.#session(signal);
  }

  async *list(
    level: number,
    { seek = NO_TXID, accurateTimes = false, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    const session = await this.#session(signal);
    const prefix = LAYOUT.levelPrefix(this.#location.path, level);
    const files: FileInfo[] = [];
    for await (const { key, size, modifiedAt } of this.#objects(session, prefix, signal)) {
      const txids = matchFileName(key.slice(prefix.length));
      if (txids === undefined || txids.minTxid < seek) continue;
      files.push({ level, ...txids, size, createdAt: modifiedAt });
    }
    // Sorted already, say all services but some.
    files.sort(byTxid);
    const found = accurateTimes
      ? mapOrdered(files, PARALLEL_HEADS, (file) => this.#withAccurateTime(session, file, signal))
      : files;
    for await (const file of found) {
      throwIfAborted(signal);
      if (file !== undefined) yield file;
    }
  }

  async timeOf(file: FileInfo, { signal }: CallOptions = {}): Promise<number> {
    const session = await this.#session(signal);
    const timed = await this.#withAccurateTime(session, file, signal);
    if (timed !== undefined) return timed.createdAt;
    const message = `s3: head object ${this.objectKey(file)}: not found`;
    throw new LitestreamError('ERR_STORAGE_NOT_FOUND', message, { details: { ...file } });
  }

  async *read(
    key: FileKey,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const session = await this.#session(options.signal);
    yield* this.#stream(session, this.objectKey(key), options);
  }

  async open(key: FileKey, options: ReadOptions = {}): Promise<Download> {
    const session = await this.#session(options.signal);
    const range = { key: this.objectKey(key), ...rangeOf(options) };
    const response = await this.#get(session, range, { direct: true, signal: options.signal });
    const fill = response.fill?.bind(response);
    if (fill === undefined || firstByte(response) !== range.offset) {
      return downloadOf(within(response, range));
    }
    let left = range.size > 0 ? range.size : Infinity;
    return {
      fill: async (target) => {
        const count = await fill(target.subarray(0, left));
        left -= count;
        return count;
      },
      close: () => void response.discard(),
    };
  }

  async write(
    key: FileKey,
    source: WriteSource,
    { signal, ifAbsent }: WriteOptions = {},
  ): Promise<FileInfo> {
    const { uploader, conditional } = await this.#session(signal);
    const name = this.objectKey(key);
    const createdAt =
      ifAbsent === true
        ? await conditional.upload({ key: name, source, signal })
        : await uploader.upload(name, source, { condition: {}, signal });
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: source.size, createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    if (keys.length === 0) return;
    const { deleter } = await this.#session(signal);
    const names = keys.map((key) => this.objectKey(key));
    await deleter.delete(names, { what: 'delete batch', quiet: false, signal });
  }

  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    const session = await this.#session(signal);
    const names: string[] = [];
    const found = this.#objects(session, `${this.#location.path}/`, signal);
    for await (const { key } of found) names.push(key);
    await session.deleter.delete(names, { what: 'delete all batch', quiet: true, signal });
  }

  async *listObjects(
    folder: string,
    { signal }: CallOptions = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    const session = await this.#session(signal);
    const prefix = `${joinPath(this.#location.path, folder)}/`;
    for await (const { key, size, modifiedAt } of this.#objects(session, prefix, signal)) {
      throwIfAborted(signal);
      yield { key: joinPath(folder, key.slice(prefix.length)), size, modifiedAt };
    }
  }

  async *readObject(
    { key }: ObjectInfo,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const session = await this.#session(options.signal);
    yield* this.#stream(session, joinPath(this.#location.path, key), options);
  }

  objectKey(key: FileKey): string {
    return LAYOUT.fileKey(this.#location.path, key);
  }

  /** The lease of this replica. */
  async leases(): Promise<LeaseStore> {
    return (await this.#session(undefined)).leases;
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    this.#stop.abort();
    this.#stop = new AbortController();
    try {
      await (await opened)?.close();
    } catch {
      // It was never open.
    }
  }

  /** A failed attempt is forgotten: the next call tries again. The signal ends the caller's wait only. */
  #session(signal: AbortSignal | undefined): Promise<Opened> {
    throwIfAborted(signal);
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return raceAbort(this.#opened, signal);
  }

  async #open(): Promise<Opened> {
    const session = await openSession(this.#location, this.#ports, this.#stop.signal);
    const { quirks, partSize } = session.settings;
    const { conditionalWrites } = quirks;
    const { logger } = this.#ports;
    const conditional = new ConditionalUploads({ ...session, logger, conditionalWrites, partSize });
    const leases = new S3LeaseStore({
      ...this.#ports,
      api: session.api,
      path: this.#location.path,
    });
    return { ...session, conditional, leases };
  }

  #objects(
    { api }: S3Session,
    prefix: string,
    signal: AbortSignal | undefined,
  ): ReturnType<typeof listObjects> {
    return listObjects({ api, logger: this.#ports.logger }, prefix, signal);
  }

  async *#stream(
    session: S3Session,
    key: string,
    options: ReadOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const range = { key, ...rangeOf(options) };
    yield* within(await this.#get(session, range, options), range);
  }

  #get(
    { api, sse }: S3Session,
    { key, offset, size }: ObjectRange,
    options: CallOptions & { readonly direct?: boolean },
  ): Promise<HttpResponse> {
    const last = size > 0 ? String(offset + size - 1) : '';
    return api.open({
      what: `get object ${key}`,
      method: 'GET',
      key,
      headers: { range: `bytes=${offset}-${last}`, ...sse.object },
      allowed: [416],
      direct: options.direct,
      signal: options.signal,
    });
  }

  /**
   * The time in the metadata, else in the file's header, else that of the upload. Undefined if the file has gone since it was
   * listed. Spec: backends 1.5.
   */
  async #withAccurateTime(
    session: S3Session,
    file: FileInfo,
    signal: AbortSignal | undefined,
  ): Promise<FileInfo | undefined> {
    const key = this.objectKey(file);
    try {
      const { headers } = await session.api.request({
        what: `head object ${key}`,
        method: 'HEAD',
        key,
        headers: session.sse.object,
        attempts: 3,
        signal,
      });
      const createdAt = parseRfc3339(headers[TIMESTAMP_HEADER] ?? '');
      if (createdAt !== undefined) return { ...file, createdAt };
    } catch (error) {
      if (isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND')) return undefined;
      if (!isStorageError(error)) throw error;
    }
    try {
      const range = { offset: 0, size: LTX_HEADER_SIZE, signal };
      const header = await collect(this.#stream(session, key, range));
      return { ...file, createdAt: headerTimestamp(header) };
    } catch (error) {
      if (!isStorageError(error)) throw error;
      this.#tellLossOfTime(key, error);
      return file;
    }
  }

  #tellLossOfTime(key: string, error: unknown): void {
    if (this.#toldLossOfTime) return;
    this.#toldLossOfTime = true;
    this.#ports.logger.log(
      'warn',
      'cannot read the time of a transaction, using that of the upload',
      {
        key,
        error: errorMessage(error),
      },
    );
  }
}

function byTxid(a: FileInfo, b: FileInfo): number {
  if (a.minTxid !== b.minTxid) return a.minTxid < b.minTxid ? -1 : 1;
  if (a.maxTxid !== b.maxTxid) return a.maxTxid < b.maxTxid ? -1 : 1;
  return 0;
}

function isStorageError(error: unknown): boolean {
  return isLitestreamError(error) && /^ERR_(?:STORAGE|LTX)/.test(error.code);
}
