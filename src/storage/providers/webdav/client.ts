import { formatTxid, matchFileName } from '../../../formats/ltx/index.ts';
import { type Clock, throwIfAborted, yieldToLoop } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import type { Logger } from '../../../telemetry/index.ts';
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
import { mapOrdered } from '../../streams.ts';
import { Collections } from './collections.ts';
import { HeaderTimes } from './header-times.ts';
import type { Member } from './listing.ts';
import { Publisher, temporaryName } from './publisher.ts';
import { openRange } from './ranges.ts';
import { named, type Session } from './session.ts';
import { stage } from './staging.ts';

const LAYOUT = layoutFor('webdav');
const PARALLEL_READS = 16;
/** Files of a listing between two turns of the event loop. */
const FILES_AT_ONCE = 1000;
const PARALLEL_DELETES = 8;
const DELETED = [200, 202, 204, 404];
/** A large tree is deleted before the answer comes. */
const DELETE_ALL_TIMEOUT_MS = 300_000;
/** Folders below each other in a listing of objects. */
const FOLDER_DEPTH_MAX = 4;

export interface WebdavClientOptions {
  readonly session: Session;
  /** As configured. */
  readonly path: string;
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly logger: Logger;
}

/** A replica on a WebDAV server: `P/ltx/N/F`. Spec: formats 4, backends 5.8. */
export class WebdavReplicaClient implements ReplicaClient {
  readonly type = 'webdav';
  readonly location: string;
  readonly #session: Session;
  readonly #path: string;
  readonly #fs: FileSystem;
  readonly #collections: Collections;
  readonly #publisher: Publisher;
  readonly #times: HeaderTimes;
  #initialized = false;

  constructor({ session, path, clock, fileSystem, logger }: WebdavClientOptions) {
    this.#session = session;
    this.#path = path;
    this.#fs = fileSystem;
    this.#collections = new Collections(session, clock);
    this.#publisher = new Publisher(session, this.#collections, logger);
    this.#times = new HeaderTimes({ logger, read: (key, options) => this.read(key, options) });
    this.location = session.url(relative(joinPath(path)));
  }

  /** Asks the server whether it lets us in. Servers that know no OPTIONS are given the benefit of the doubt. */
  async init({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    if (this.#initialized) return;
    await this.#session.retrying('webdav: cannot connect to server', signal, async () => {
      const response = await this.#session.send({ method: 'OPTIONS', path: '', signal });
      const { status } = response;
      if (status >= 500 || status === 401 || status === 403 || status === 429 || status === 408) {
        if (status !== 501) throw await this.#session.unexpected(response);
      }
      await response.discard();
    });
    this.#initialized = true;
  }

  async *list(
    level: number,
    { seek, accurateTimes, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    const directory = LAYOUT.levelPrefix(this.#path, level);
    const members = await this.#members(directory, signal);
    // Names of fixed width: their order as text is the order of their TXIDs.
    const from = formatTxid(seek ?? 0n);
    const files: { readonly file: FileInfo; readonly member: Member }[] = [];
    for (const member of members.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const txids =
        member.isCollection || member.name < from ? undefined : matchFileName(member.name);
      if (txids === undefined) continue;
      const size = knownSize(directory, member);
      files.push({ file: { level, ...txids, size, createdAt: member.modifiedAt }, member });
    }
    await yieldToLoop();
    if (accurateTimes !== true) {
      for (const [at, { file }] of files.entries()) {
        throwIfAborted(signal);
        if (at % FILES_AT_ONCE === FILES_AT_ONCE - 1) await yieldToLoop();
        yield file;
      }
      return;
    }
    const times = this.#times.begin(level);
    const timed = mapOrdered(files, PARALLEL_READS, async ({ file, member }) => {
      const createdAt = await times.of(file, member, { signal });
      return createdAt === undefined ? undefined : { ...file, createdAt };
    });
    for await (const file of timed) {
      throwIfAborted(signal);
      // Deleted since it was listed.
      if (file !== undefined) yield file;
    }
    if (seek === undefined) times.end();
  }

  async timeOf(file: FileInfo, options: CallOptions = {}): Promise<number> {
    const time = await this.#times.read(file, options);
    if (time !== undefined) return time;
    const path = LAYOUT.fileKey(this.#path, file);
    const message = `webdav: cannot read file "${path}": not found`;
    throw new LitestreamError('ERR_STORAGE_NOT_FOUND', message, { details: { ...file } });
  }

  read(key: ReadKey, options: ReadOptions = {}): AsyncIterable<Uint8Array> {
    return this.#read(LAYOUT.fileKey(this.#path, key), options);
  }

  async write(key: FileKey, source: WriteSource, options: WriteOptions = {}): Promise<FileInfo> {
    const { signal, ifAbsent = false } = options;
    throwIfAborted(signal);
    const path = LAYOUT.fileKey(this.#path, key);
    const what = `webdav: cannot write file "${path}"`;
    const staged = await stage(source, this.#fs, signal);
    try {
      await this.init({ signal });
      const temporary = temporaryName(relative(path));
      await this.#session.retrying(what, signal, () =>
        this.#publisher.publish(relative(path), staged, { temporary, ifAbsent, signal }),
      );
    } finally {
      await staged.discard();
    }
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: source.size, createdAt: staged.createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    if (keys.length === 0) return;
    await this.init({ signal });
    const deletions = mapOrdered(keys, PARALLEL_DELETES, async (key) => {
      throwIfAborted(signal);
      const path = LAYOUT.fileKey(this.#path, key);
      await this.#session.retrying(`webdav: cannot delete ltx file "${path}"`, signal, () =>
        this.#session.command({ method: 'DELETE', path: relative(path), signal }, DELETED),
      );
    });
    for await (const _deleted of deletions) throwIfAborted(signal);
  }

  /** One request, unless the replica is all that `webdav-url` names: that collection itself stays. */
  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    await this.init({ signal });
    const root = relative(joinPath(this.#path));
    const paths = root === '' ? await this.#membersOfRoot(signal) : [`${root}/`];
    for (const path of paths) {
      await this.#session.retrying(`webdav: cannot delete path "${path}"`, signal, () =>
        this.#session.command(
          { method: 'DELETE', path, signal, idleTimeoutMs: DELETE_ALL_TIMEOUT_MS },
          DELETED,
        ),
      );
    }
    this.#collections.forgetAll();
  }

  async *listObjects(
    folder: string,
    { signal }: CallOptions = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    const members = await this.#members(`${joinPath(this.#path, folder)}/`, signal);
    const folders: string[] = [];
    for (const member of members.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      throwIfAborted(signal);
      const key = joinPath(folder, member.name);
      if (member.isCollection) folders.push(key);
      else yield { key, size: knownSize(folder, member), modifiedAt: member.modifiedAt };
    }
    if (folder.split('/').length > FOLDER_DEPTH_MAX) return;
    for (const each of folders) yield* this.listObjects(each, { signal });
  }

  readObject({ key }: ObjectInfo, options: ReadOptions = {}): AsyncIterable<Uint8Array> {
    return this.#read(joinPath(this.#path, key), options);
  }

  close(): Promise<void> {
    this.#session.close();
    return Promise.resolve();
  }

  /** Empty if there is no such collection. @param directory - ends in a slash. */
  async #members(directory: string, signal: AbortSignal | undefined): Promise<readonly Member[]> {
    throwIfAborted(signal);
    await this.init({ signal });
    const what = `webdav: cannot read directory "${directory.slice(0, -1)}"`;
    const found = await this.#session.retrying(what, signal, () =>
      this.#collections.list(relative(directory), signal),
    );
    return found?.members ?? [];
  }

  async #membersOfRoot(signal: AbortSignal | undefined): Promise<string[]> {
    const members = await this.#members('/', signal);
    return members.map(({ name, isCollection }) => (isCollection ? `${name}/` : name));
  }

  async *#read(path: string, options: ReadOptions): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal } = options;
    throwIfAborted(signal);
    await this.init({ signal });
    const what = `webdav: cannot read file "${path}"`;
    const range = await this.#session.retrying(what, signal, () =>
      openRange(this.#session, relative(path), options),
    );
    try {
      yield* range;
    } catch (error) {
      throw named(what, error);
    }
  }
}

/** Below `webdav-url`: without a slash at the start, '' for the collection itself. */
function relative(path: string): string {
  const bare = path.replace(/^\/+/, '');
  return bare === '.' ? '' : bare;
}

function knownSize(directory: string, { name, size }: Member): number {
  if (size !== undefined) return size;
  const message = `webdav: cannot read directory "${directory.replace(/\/$/, '')}": no getcontentlength for ${name}`;
  throw new LitestreamError('ERR_STORAGE', message, { details: { directory, name } });
}
