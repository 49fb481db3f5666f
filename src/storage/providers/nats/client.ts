import { abortError, isAborted, throwIfAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import type {
  CallOptions,
  FileInfo,
  FileKey,
  ListOptions,
  ReadOptions,
  ReplicaClient,
  WriteOptions,
  WriteSource,
} from '../../contract.ts';
import { layoutFor } from '../../layouts.ts';
import type { NatsLocation } from '../../locations.ts';
import { HeaderTimes, listedFiles } from '../../object-listing.ts';
import { mapOrdered } from '../../streams.ts';
import { ChunkMaps } from './chunk-map.ts';
import { Connection, type ConnectionPorts, type Session } from './connection.ts';
import { failed, isConnectionLost } from './errors.ts';
import { allObjects, objectInfo, type ObjectInfo } from './objects.ts';
import { readObject } from './reading.ts';
import { deleteEverything, deleteObject, putObject } from './writing.ts';

const LAYOUT = layoutFor('nats');
const PARALLEL_DELETES = 16;
/** An object may be replaced between the look at it and the first of its bytes. */
const READ_STARTS_MAX = 10;

/** A replica in a bucket of a NATS JetStream object store. One bucket holds one replica. Spec: backends 5.6. */
export class NatsReplicaClient implements ReplicaClient {
  readonly type = 'nats';
  readonly location: string;
  readonly #connection: Connection;
  readonly #maps = new ChunkMaps();
  readonly #closing = new AbortController();
  readonly #times: HeaderTimes;

  constructor(location: NatsLocation, ports: ConnectionPorts) {
    this.location = `${location.url}/${location.bucket}`;
    this.#connection = new Connection(location, ports);
    this.#times = new HeaderTimes(this, ports.logger);
  }

  /** Connects and looks for the bucket. */
  async init({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    await this.#connection.session(this.#signal(signal));
  }

  async *list(
    level: number,
    { seek, accurateTimes = false, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    throwIfAborted(signal);
    const objects = await this.#run('failed to list objects', signal, allObjects);
    const prefix = LAYOUT.levelPrefix('', level);
    const page = objects
      .filter(({ name, deleted }) => !deleted && name.startsWith(prefix))
      .map((object) => ({ ...object, key: object.name }));
    yield* listedFiles(onePage(page), {
      level,
      prefix,
      seek,
      signal,
      what: 'failed to list objects',
      time: (file, { headerTime, storedAt }) => {
        if (headerTime !== undefined) return headerTime;
        // Copies of objects may have lost their headers.
        return accurateTimes ? this.#times.of(file, storedAt, signal) : storedAt;
      },
    });
  }

  async *read(
    key: FileKey,
    { offset = 0, size = 0, signal }: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(signal);
    const name = LAYOUT.fileKey('', key);
    const what = `failed to get object ${name}`;
    for (let start = 0; start < READ_STARTS_MAX; start++) {
      const info = await this.#run(what, signal, (session, stop) =>
        objectInfo(session, name, stop),
      );
      if (info === undefined || info.deleted) throw notFound(name);
      const end = size === 0 ? info.size : Math.min(info.size, offset + size);
      if (offset >= end) return;
      let delivered = false;
      for await (const bytes of this.#stream(info, { offset, end }, signal)) {
        delivered = true;
        yield bytes;
      }
      if (delivered) return;
    }
    throw failed(what, new LitestreamError('ERR_STORAGE', 'nats: it has no chunks'));
  }

  async *#stream(
    info: ObjectInfo,
    range: { readonly offset: number; readonly end: number },
    caller: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const outer = this.#signal(caller);
    try {
      const session = await this.#connection.session(outer);
      const signal = AbortSignal.any([outer, session.lost]);
      yield* readObject(session, info, { range, maps: this.#maps, signal });
    } catch (error) {
      if (isAborted(outer)) throw abortError(outer);
      throw failed(`failed to get object ${info.name}`, error);
    }
  }

  async write(
    key: FileKey,
    source: WriteSource,
    { signal, ifAbsent = false }: WriteOptions = {},
  ): Promise<FileInfo> {
    throwIfAborted(signal);
    const name = LAYOUT.fileKey('', key);
    const createdAt = await this.#run(`failed to put object ${name}`, signal, (session, stop) =>
      putObject(session, name, source, { ifAbsent, signal: stop }),
    );
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: source.size, createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    const deletes = mapOrdered(keys, PARALLEL_DELETES, (key) => {
      const name = LAYOUT.fileKey('', key);
      return this.#run(`failed to delete object ${name}`, signal, (session, stop) =>
        deleteObject(session, name, stop),
      );
    });
    while ((await deletes.next()).done !== true);
  }

  /** Every object of the bucket: it belongs to one replica. */
  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    await this.#run('failed to delete objects', signal, deleteEverything);
  }

  /** Ends what is under way with `ERR_ABORTED`, and the connection. */
  async close(): Promise<void> {
    this.#closing.abort(new LitestreamError('ERR_ABORTED', 'nats: the client is closed'));
    await this.#connection.close();
  }

  #signal(caller: AbortSignal | undefined): AbortSignal {
    const closing = this.#closing.signal;
    return caller === undefined ? closing : AbortSignal.any([caller, closing]);
  }

  /** Runs an operation, once more if the connection broke under it. */
  async #run<T>(
    what: string,
    caller: AbortSignal | undefined,
    operation: (session: Session, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const outer = this.#signal(caller);
    for (let first = true; ; first = false) {
      const session = await this.#connection.session(outer);
      try {
        return await operation(session, AbortSignal.any([outer, session.lost]));
      } catch (error) {
        if (isAborted(outer)) throw abortError(outer);
        if (!first || !isConnectionLost(error)) throw failed(what, error);
      }
    }
  }
}

async function* onePage<T>(page: T): AsyncGenerator<T, void, undefined> {
  await Promise.resolve();
  yield page;
}

function notFound(name: string): LitestreamError {
  return new LitestreamError(
    'ERR_STORAGE_NOT_FOUND',
    `failed to get object ${name}: nats: object not found`,
    { details: { key: name } },
  );
}
