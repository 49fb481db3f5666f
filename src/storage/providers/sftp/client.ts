import { posix } from 'node:path';
import { formatTxid, matchFileName } from '../../../formats/ltx/index.ts';
import { type Clock, sleep, throwIfAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
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
import type { SftpLocation } from '../../locations.ts';
import { hasStatus, isLost, named, STATUS, storageError } from './errors.ts';
import { publish, publishNew } from './publish.ts';
import { type RemoteEntry, RemoteFiles } from './remote-files.ts';
import { SftpSession } from './session.ts';
import { sftpSettings } from './settings.ts';
import { Temporaries } from './temporaries.ts';
import { download, upload } from './transfer.ts';
import { removeTree, walk } from './tree.ts';

const LAYOUT = layoutFor('sftp');
/** Requests under way at once where many files are deleted. */
const PARALLEL_DELETES = 16;
/** What a write that was given up may still take to remove its temporary file. */
const CLEAN_UP_MS_MAX = 1000;

export interface SftpReplicaOptions {
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /** For the socket of an ssh-agent. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** Default 30000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Longest silence of the server while something is asked of it. Default 30000. */
  readonly idleTimeoutMs?: number | undefined;
}

/** A replica on an SFTP server: `P/ltx/N/F`. Spec: backends 5.5. */
export class SftpReplicaClient implements ReplicaClient {
  readonly type = 'sftp';
  readonly location: string;
  readonly #root: string;
  readonly #concurrent: boolean;
  readonly #clock: Clock;
  readonly #session: SftpSession;
  readonly #temporaries = new Temporaries();

  /** @throws LitestreamError `ERR_CONFIG` for a `host` or a `host-key` that cannot be read. */
  constructor(location: SftpLocation, options: SftpReplicaOptions) {
    const { clock, logger = noopLogger, environment = {} } = options;
    const settings = sftpSettings(location, environment);
    this.#clock = clock;
    this.#root = location.path;
    this.#concurrent = location.concurrentWrites;
    this.#session = new SftpSession(settings, {
      clock,
      logger,
      connectMs: options.connectTimeoutMs,
      idleMs: options.idleTimeoutMs,
    });
    // A relative path begins where the login ends up.
    const path = joinPath(location.path.startsWith('/') ? '' : '~', location.path);
    this.location = `sftp://${settings.user}@${this.#session.host}${joinPath('/', path)}`;
  }

  async init({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    await this.#session.connection(signal);
  }

  async *list(
    level: number,
    { seek, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    throwIfAborted(signal);
    const directory = this.#directory(level);
    const entries = await this.#run((files) => listFolder(files, directory), signal);
    const now = this.#clock.now();
    for (const { name, modifiedAt } of entries)
      this.#temporaries.notice(directory, name, now - modifiedAt);
    // Names of fixed width: their order as text is the order of their TXIDs.
    const from = formatTxid(seek ?? 0n);
    const listed = entries
      .filter(({ name }) => name >= from)
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of listed) {
      throwIfAborted(signal);
      const txids = matchFileName(entry.name);
      if (txids === undefined) continue;
      const { kind, size, modifiedAt } = await this.#resolve(directory, entry, signal);
      if (kind === 'file') yield { level, ...txids, size, createdAt: modifiedAt };
    }
  }

  async *read(
    key: FileKey,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const path = this.#path(key);
    yield* this.#stream(`open ltx file ${path}`, path, options);
  }

  async *listObjects(
    folder: string,
    { signal }: CallOptions = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    throwIfAborted(signal);
    const root = joinPath(this.#root, folder);
    const objects = await this.#run(
      (files) => named(`cannot read directory "${root}"`, root, walk(files, root)),
      signal,
    );
    for (const { path, size, modifiedAt } of objects) {
      throwIfAborted(signal);
      yield { key: `${folder}/${path}`, size, modifiedAt };
    }
  }

  async *readObject(
    { key }: ObjectInfo,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const path = joinPath(this.#root, key);
    yield* this.#stream(`open object ${path}`, path, options);
  }

  async write(key: FileKey, source: WriteSource, options: WriteOptions = {}): Promise<FileInfo> {
    const { signal } = options;
    throwIfAborted(signal);
    const path = this.#path(key);
    const createdAt = await this.#run((files) => this.#store(files, path, source, options), signal);
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: source.size, createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    for (let at = 0; at < keys.length; at += PARALLEL_DELETES) {
      throwIfAborted(signal);
      const paths = keys.slice(at, at + PARALLEL_DELETES).map((key) => this.#path(key));
      await this.#run(async (files) => {
        await Promise.all(
          paths.map((path) => named(`cannot delete ltx file "${path}"`, path, files.remove(path))),
        );
      }, signal);
    }
  }

  /** Without a path of its own a replica shares its folder with others: there only `ltx` and `generations` go. */
  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    const isShared = ['', '.', '/'].includes(joinPath(this.#root));
    const roots = isShared ? ['ltx', 'generations'] : [''];
    for (const name of roots) {
      const path = joinPath(this.#root, name);
      await this.#run(
        (files) => named(`cannot delete "${path}"`, path, removeTree(files, path)),
        signal,
      );
    }
  }

  close(): Promise<void> {
    this.#session.close();
    return Promise.resolve();
  }

  #directory(level: number): string {
    return LAYOUT.levelPrefix(this.#root, level).slice(0, -1);
  }

  #path(key: FileKey): string {
    return LAYOUT.fileKey(this.#root, key);
  }

  #run<T>(
    operation: (files: RemoteFiles) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return this.#session.run(
      (connection) => operation(new RemoteFiles(connection, signal)),
      signal,
    );
  }

  /** A link in place of a file counts as what it leads to. */
  #resolve(
    directory: string,
    entry: RemoteEntry,
    signal: AbortSignal | undefined,
  ): Promise<Omit<RemoteEntry, 'name'>> {
    if (entry.kind !== 'link') return Promise.resolve(entry);
    const path = posix.join(directory, entry.name);
    return this.#run(
      async (files) => (await named(`stat ${path}`, path, files.stat(path))) ?? entry,
      signal,
    );
  }

  /** One attempt to read. A connection that breaks on the way is the reader's to resume. */
  async *#stream(
    what: string,
    path: string,
    { offset = 0, size = 0, signal }: ReadOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(signal);
    const { files, handle } = await this.#run(async (remote) => {
      const opened = await named(what, path, remote.open(path, 'r'));
      return { files: remote, handle: opened };
    }, signal);
    try {
      yield* download(files, handle, { offset, size, signal });
    } catch (error) {
      throw storageError(what, path, error);
    } finally {
      // Nobody has to wait for this. What could go wrong has gone wrong before.
      files.untilDone.close(handle).catch(() => undefined);
    }
  }

  /** One attempt: temporary file, times, fsync, rename. @returns the header's time. */
  async #store(
    files: RemoteFiles,
    path: string,
    source: WriteSource,
    options: WriteOptions,
  ): Promise<number> {
    const directory = posix.dirname(path);
    const temporary = this.#temporaries.begin(path);
    try {
      const createdAt = await this.#fill(files, { temporary, directory }, source, options.signal);
      throwIfAborted(options.signal);
      const publication = { files, temporary, path };
      const what = `cannot rename temporary ltx file "${temporary}" to "${path}"`;
      await named(
        what,
        path,
        options.ifAbsent === true ? publishNew(publication) : publish(publication),
      );
      this.#temporaries.end(temporary);
      await this.#tidy(files, directory, path);
      return createdAt;
    } catch (error) {
      await this.#discard(files, directory, temporary, error);
      throw await this.#explain(files, directory, source, error);
    }
  }

  async #fill(
    files: RemoteFiles,
    { temporary, directory }: { readonly temporary: string; readonly directory: string },
    source: WriteSource,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const what = 'cannot open temporary snapshot file for writing';
    const handle = await named(what, temporary, create(files, temporary, directory));
    let seconds: number;
    let createdAt: number;
    try {
      const concurrent = this.#concurrent;
      createdAt = await upload({ files, handle, path: temporary, concurrent }, source, signal);
      seconds = Math.floor(createdAt / 1000);
    } catch (error) {
      // Answered before the file is removed: a server works in order.
      files.untilDone.close(handle).catch(() => undefined);
      throw error;
    }
    // In order on one channel: the times, then both durable, then closed; one round trip.
    const steps = await Promise.allSettled([
      files.setTimes(handle, seconds),
      files.sync(handle),
      files.close(handle),
    ]);
    const [times, ...others] = steps;
    for (const step of others) if (step.status === 'rejected') throw step.reason;
    if (times.status === 'rejected') {
      const text = 'cannot set file timestamps';
      if (isLost(times.reason)) throw times.reason;
      await named(text, temporary, files.setTimesOf(temporary, seconds));
    }
    return createdAt;
  }

  /** Removes the temporary file of an attempt that failed. */
  async #discard(
    files: RemoteFiles,
    directory: string,
    temporary: string,
    error: unknown,
  ): Promise<void> {
    if (isLost(error)) {
      this.#temporaries.leave(directory, temporary);
      return;
    }
    const removed = files.untilDone.remove(temporary).then(
      () => true,
      () => false,
    );
    const gaveUp = new AbortController();
    const patience = sleep(this.#clock, CLEAN_UP_MS_MAX, gaveUp.signal).then(
      () => false,
      () => false,
    );
    const isGone = await Promise.race([removed, patience]);
    gaveUp.abort();
    if (isGone) this.#temporaries.end(temporary);
    else this.#temporaries.leave(directory, temporary);
  }

  /** OpenSSH says no more than `Failure` when its disk is full. */
  async #explain(
    files: RemoteFiles,
    directory: string,
    source: WriteSource,
    error: unknown,
  ): Promise<unknown> {
    const cause = error instanceof LitestreamError ? error.cause : error;
    if (!hasStatus(cause, STATUS.failure))
      return storageError(`write ${directory}`, directory, error);
    const free = await files.freeBytes(directory);
    if (free === undefined || free >= source.size) {
      return storageError(`write ${directory}`, directory, error);
    }
    return new LitestreamError(
      'ERR_DISK_FULL',
      `sftp: write ${directory}: no space left on device`,
      {
        cause: error,
        details: { path: directory, free, needed: source.size },
        hint: 'free space on the server',
      },
    );
  }

  /** Removes what dead writers have left here. */
  async #tidy(files: RemoteFiles, directory: string, path: string): Promise<void> {
    const names = this.#temporaries.takeAfter(directory, path);
    // Best effort: the file is stored, and that is what counts.
    await Promise.all(names.map((name) => files.remove(name).catch(() => undefined)));
  }
}

async function listFolder(files: RemoteFiles, path: string): Promise<readonly RemoteEntry[]> {
  try {
    return await files.list(path);
  } catch (error) {
    if (hasStatus(error, STATUS.noSuchFile)) return [];
    throw storageError(`cannot read directory "${path}"`, path, error);
  }
}

/** Opens a new file; its folder is made only if it turns out to be missing. */
async function create(files: RemoteFiles, path: string, directory: string): Promise<Buffer> {
  try {
    return await files.open(path, 'w');
  } catch (error) {
    if (!hasStatus(error, STATUS.noSuchFile)) throw error;
    await makeDirectories(files, directory);
    return files.open(path, 'w');
  }
}

async function makeDirectories(files: RemoteFiles, directory: string): Promise<void> {
  try {
    await files.makeDirectory(directory);
  } catch (error) {
    const parent = posix.dirname(directory);
    if (hasStatus(error, STATUS.noSuchFile) && parent !== directory) {
      await makeDirectories(files, parent);
      await makeDirectories(files, directory);
      return;
    }
    // Somebody else may have made it just now.
    if ((await files.stat(directory))?.kind === 'directory') return;
    const what = `cannot make parent snapshot directory "${directory}"`;
    throw storageError(what, directory, error);
  }
}
