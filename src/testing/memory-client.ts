import { formatFileName, matchFileName, NO_TXID } from '../formats/ltx/index.ts';
import { throwIfAborted } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import {
  abortable,
  type CallOptions,
  type WriteOptions,
  collect,
  type FileInfo,
  type FileKey,
  headerTimestamp,
  type ListOptions,
  type ObjectInfo,
  type ReadKey,
  type ReadOptions,
  type ReplicaClient,
  type WriteSource,
} from '../storage/index.ts';

const CHUNK_SIZE = 64 * 1024;

/** One object of a {@link MemoryStore}. */
export interface MemoryObject {
  readonly bytes: Uint8Array;
  /** Milliseconds since the Unix epoch, from the LTX header. */
  readonly createdAt: number;
}

/** Objects by key `<path>/ltx/<level>/<name>`; the path's part is left out if it is empty. */
export type MemoryStore = Map<string, MemoryObject>;

export interface MemoryClientOptions {
  /** Shared by several clients that stand for one remote. Default: a new one. */
  readonly store?: MemoryStore | undefined;
  /** The replica's path inside the store. Default ''. */
  readonly path?: string | undefined;
}

/** A replica in memory. Every call takes at least one turn of the microtask queue, as a remote's would. */
export class MemoryClient implements ReplicaClient {
  readonly type = 'memory';
  readonly location: string;
  readonly store: MemoryStore;
  readonly #prefix: string;

  constructor({ store = new Map<string, MemoryObject>(), path = '' }: MemoryClientOptions = {}) {
    this.store = store;
    this.location = path;
    this.#prefix = path === '' ? '' : `${path}/`;
  }

  async init({ signal }: CallOptions = {}): Promise<void> {
    await Promise.resolve();
    throwIfAborted(signal);
  }

  async *list(
    level: number,
    { seek = NO_TXID, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    throwIfAborted(signal);
    await Promise.resolve();
    const prefix = `${this.#prefix}ltx/${level}/`;
    const keys = [...this.store.keys()].filter((key) => key.startsWith(prefix)).toSorted();
    for (const key of keys) {
      throwIfAborted(signal);
      const txids = matchFileName(key.slice(prefix.length));
      const object = this.store.get(key);
      if (txids === undefined || txids.minTxid < seek || object === undefined) continue;
      yield { level, ...txids, size: object.bytes.length, createdAt: object.createdAt };
    }
  }

  async *read(
    key: ReadKey,
    { offset = 0, size = 0, signal }: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#stream(this.#key(key), { offset, size, signal }, { ...key });
  }

  async *listObjects(
    folder: string,
    { signal }: CallOptions = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    throwIfAborted(signal);
    await Promise.resolve();
    for (const [name, { bytes, createdAt }] of this.store) {
      throwIfAborted(signal);
      if (!name.startsWith(`${this.#prefix}${folder}/`)) continue;
      yield { key: name.slice(this.#prefix.length), size: bytes.length, modifiedAt: createdAt };
    }
  }

  async *readObject(
    { key }: ObjectInfo,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#stream(`${this.#prefix}${key}`, options, { key });
  }

  async *#stream(
    name: string,
    { offset = 0, size = 0, signal }: ReadOptions,
    details: Readonly<Record<string, unknown>>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(signal);
    await Promise.resolve();
    const object = this.store.get(name);
    if (object === undefined) {
      throw new LitestreamError('ERR_STORAGE_NOT_FOUND', `get object ${name}: not found`, {
        details: { path: name, ...details },
      });
    }
    const { length } = object.bytes;
    const end = size > 0 ? Math.min(length, offset + size) : length;
    for (let position = offset; position < end; position += CHUNK_SIZE) {
      throwIfAborted(signal);
      yield object.bytes.slice(position, Math.min(end, position + CHUNK_SIZE));
      await Promise.resolve();
    }
  }

  async write(
    key: FileKey,
    source: WriteSource,
    { signal, ifAbsent }: WriteOptions = {},
  ): Promise<FileInfo> {
    throwIfAborted(signal);
    const bytes = Uint8Array.from(await collect(abortable(source.stream(signal), signal)));
    const createdAt = headerTimestamp(bytes.subarray(0, 100));
    if (bytes.length !== source.size) {
      throw new LitestreamError(
        'ERR_STORAGE',
        `put object ${this.#key(key)}: source has ${bytes.length} bytes, expected ${source.size}`,
      );
    }
    throwIfAborted(signal);
    if (ifAbsent === true && this.store.has(this.#key(key))) {
      throw new LitestreamError('ERR_STORAGE_EXISTS', `put object ${this.#key(key)}: exists`);
    }
    this.store.set(this.#key(key), { bytes, createdAt });
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: bytes.length, createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    await Promise.resolve();
    for (const key of keys) {
      throwIfAborted(signal);
      this.store.delete(this.#key(key));
    }
  }

  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    await Promise.resolve();
    throwIfAborted(signal);
    for (const key of this.store.keys()) {
      if (key.startsWith(this.#prefix)) this.store.delete(key);
    }
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }

  /** Puts an object of any name and content into a level, as another program would. */
  putForeign(level: number, name: string, bytes: Uint8Array = new Uint8Array()): void {
    this.store.set(`${this.#prefix}ltx/${level}/${name}`, { bytes, createdAt: 0 });
  }

  /** Puts an object of another layout below the replica's path. */
  putObject(key: string, bytes: Uint8Array, modifiedAt: number): void {
    this.store.set(`${this.#prefix}${key}`, { bytes, createdAt: modifiedAt });
  }

  #key({ level, minTxid, maxTxid }: FileKey): string {
    return `${this.#prefix}ltx/${level}/${formatFileName(minTxid, maxTxid)}`;
  }
}
