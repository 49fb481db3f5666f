import { dirname, resolve } from 'node:path';
import { formatTxid, matchFileName, type Txid } from '../../../formats/ltx/index.ts';
import { type Clock, throwIfAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import type { FileStat, FileSystem, OpenFile, Ownership } from '../../../lib/file-system.ts';
import { fastestFor } from '../../../lib/local-file-system.ts';
import { Mutex } from '../../../lib/mutex.ts';
import { isMissing, osError, osErrorCode } from '../../../lib/os-error.ts';
import type {
  CallOptions,
  WriteOptions,
  FileInfo,
  FileKey,
  ListOptions,
  ObjectInfo,
  ReadOptions,
  ReplicaClient,
  ReplicaOwnership,
  WriteSource,
} from '../../contract.ts';
import { joinPath, layoutFor } from '../../layouts.ts';
import { mapOrdered } from '../../streams.ts';
import { onDisk, storageError } from './errors.ts';
import { type ExactTimes, exactTimes } from './exact-times.ts';
import { completeFile, fillFile } from './temporary-file.ts';

const LAYOUT = layoutFor('file');
const READ_CHUNK_SIZE = 512 * 1024;
const PARALLEL_STATS = 32;
const LOOK_MS = 60_000;
/** Folders below each other in a listing of objects. */
const FOLDER_DEPTH_MAX = 4;

export interface FileReplicaOptions {
  /** The replica's folder. A relative one is taken from the working directory, once. */
  readonly path: string;
  readonly fileSystem: FileSystem;
  /** Default: file times stay up to half a microsecond late, see {@link ExactTimes}. */
  readonly clock?: Clock | undefined;
  /**
   * Asked before each write. Default: files 0600, folders 0700, owner of the process. Folders that exist are left as they
   * are.
   */
  readonly ownership?: (() => ReplicaOwnership | Promise<ReplicaOwnership>) | undefined;
  /** A database that is open in this process; on its disk nothing is lost by waiting for the system. */
  readonly databasePath?: string | undefined;
}

/** Writers of one path in this process take turns, whichever client they use: they share the temporary name. */
const writers = new Map<string, Mutex>();

async function takingTurns<T>(
  path: string,
  signal: AbortSignal | undefined,
  body: () => Promise<T>,
): Promise<T> {
  const mutex = writers.get(path) ?? new Mutex();
  writers.set(path, mutex);
  try {
    return await mutex.run(body, signal);
  } finally {
    if (!mutex.held && mutex.waiters === 0) writers.delete(path);
  }
}

function notADirectory(operation: string, path: string): unknown {
  const cause = Object.assign(new Error('not a directory'), { code: 'ENOTDIR' });
  return storageError(osError(operation, path, cause));
}

/** A file time as whole milliseconds. Times are stored up to half a microsecond off, see `OpenFile.setTimes`. */
function wholeMs(mtimeMs: number): number {
  return Math.floor(mtimeMs + 0.001);
}

interface Candidate {
  readonly name: string;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
}

/** A replica in a folder: `P/ltx/N/F`. Spec: formats 4, backends 5.1. */
export class FileReplicaClient implements ReplicaClient {
  readonly type = 'file';
  readonly location: string;
  readonly #root: string;
  readonly #givenFs: FileSystem;
  readonly #clock: Clock | undefined;
  readonly #databasePath: string | undefined;
  /** The fastest way to the folder, as it was found when {@link #look} was called last. */
  #fs: FileSystem;
  #lookedAt = -Infinity;
  readonly #ownership: () => ReplicaOwnership | Promise<ReplicaOwnership>;
  readonly #exactTimes: ExactTimes | undefined;
  /** Folders whose names in their parents are known to be durable. */
  readonly #durable = new Set<string>();

  constructor(options: FileReplicaOptions) {
    this.#root = resolve(options.path);
    this.location = this.#root;
    this.#ownership = options.ownership ?? (() => ({}));
    const { fileSystem, clock } = options;
    this.#fs = this.#givenFs = fileSystem;
    this.#clock = clock;
    this.#databasePath = options.databasePath;
    this.#exactTimes = clock === undefined ? undefined : exactTimes(fileSystem, clock);
  }

  /** Creates nothing. Fails if the path, or what would be its parent, is no folder. */
  async init({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    await this.#look();
    await this.#missingDirectories(this.#root, 'open');
  }

  async levels({ signal }: CallOptions = {}): Promise<readonly number[]> {
    throwIfAborted(signal);
    const names = await onDisk(this.#fs.list('file:list', joinPath(this.#root, 'ltx')));
    return names
      .filter((name) => /^\d$/.test(name))
      .map(Number)
      .toSorted((a, b) => a - b);
  }

  async *list(
    level: number,
    { seek, signal }: ListOptions = {},
  ): AsyncGenerator<FileInfo, void, undefined> {
    throwIfAborted(signal);
    await this.#look();
    const directory = LAYOUT.levelPrefix(this.#root, level).slice(0, -1);
    const names = await onDisk(this.#fs.list('file:list', directory));
    // Names of fixed width: their order as text is the order of their TXIDs.
    const from = formatTxid(seek ?? 0n);
    const candidates: Candidate[] = [];
    for (const name of names.filter((each) => each >= from).toSorted()) {
      const txids = matchFileName(name);
      if (txids !== undefined) candidates.push({ name, ...txids });
    }
    const stats = mapOrdered(candidates, PARALLEL_STATS, async ({ name, minTxid, maxTxid }) => {
      const stat = await onDisk(this.#fs.stat('file:stat', joinPath(directory, name)));
      return { minTxid, maxTxid, stat };
    });
    for await (const { minTxid, maxTxid, stat } of stats) {
      throwIfAborted(signal);
      // A file may be deleted between the two calls; a folder of such a name is not ours.
      if (stat?.kind !== 'file') continue;
      yield { level, minTxid, maxTxid, size: stat.size, createdAt: wholeMs(stat.mtimeMs) };
    }
  }

  async *read(
    key: FileKey,
    { offset = 0, size = 0, signal }: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(signal);
    const path = this.localPath(key);
    yield* this.#stream(await this.#openForReading(path, { ...key }), { offset, size, signal });
  }

  async *listObjects(
    folder: string,
    { signal }: CallOptions = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    throwIfAborted(signal);
    const directory = joinPath(this.#root, folder);
    const names = await onDisk(this.#fs.list('file:list', directory));
    const stats = mapOrdered(names.toSorted(), PARALLEL_STATS, async (name) => {
      const stat = await onDisk(this.#fs.stat('file:stat', joinPath(directory, name)));
      return { key: joinPath(folder, name), stat };
    });
    const folders: string[] = [];
    for await (const { key, stat } of stats) {
      throwIfAborted(signal);
      if (stat?.kind === 'directory') folders.push(key);
      if (stat?.kind === 'file') yield { key, size: stat.size, modifiedAt: stat.mtimeMs };
    }
    // A symbolic link to a folder above would lead in circles; no layout is deeper than this.
    if (folder.split('/').length > FOLDER_DEPTH_MAX) return;
    for (const each of folders) yield* this.listObjects(each, { signal });
  }

  async *readObject(
    { key }: ObjectInfo,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(options.signal);
    const path = joinPath(this.#root, key);
    yield* this.#stream(await this.#openForReading(path, { key }), options);
  }

  /** Reads an open file and closes it. */
  async *#stream(
    file: OpenFile,
    { offset = 0, size = 0, signal }: ReadOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      const { size: fileSize } = await onDisk(file.stat('file:read-stat'));
      const end = size > 0 ? Math.min(fileSize, offset + size) : fileSize;
      let position = offset;
      while (position < end) {
        throwIfAborted(signal);
        const chunk = new Uint8Array(Math.min(READ_CHUNK_SIZE, end - position));
        const count = await onDisk(file.read('file:read', chunk, position));
        if (count === 0) return;
        position += count;
        yield count === chunk.length ? chunk : chunk.subarray(0, count);
      }
    } finally {
      await onDisk(file.close());
    }
  }

  async write(key: FileKey, source: WriteSource, options: WriteOptions = {}): Promise<FileInfo> {
    const { signal } = options;
    throwIfAborted(signal);
    await this.#look();
    const path = this.localPath(key);
    const createdAt = await takingTurns(path, signal, () => this.#publish(path, source, options));
    this.#exactTimes?.announce(path, createdAt);
    const { level, minTxid, maxTxid } = key;
    return { level, minTxid, maxTxid, size: source.size, createdAt };
  }

  async delete(keys: readonly FileKey[], { signal }: CallOptions = {}): Promise<void> {
    for (const key of keys) {
      throwIfAborted(signal);
      await onDisk(this.#fs.remove('file:delete', this.localPath(key)));
    }
  }

  async deleteAll({ signal }: CallOptions = {}): Promise<void> {
    throwIfAborted(signal);
    if (dirname(this.#root) === this.#root) {
      throw new LitestreamError('ERR_STORAGE', `refusing to delete everything below ${this.#root}`);
    }
    const stat = await onDisk(this.#fs.stat('file:stat-directory', this.#root));
    if (stat === undefined) return;
    if (stat.kind !== 'directory') throw notADirectory('remove', this.#root);
    await onDisk(this.#fs.removeTree('file:delete-all', this.#root));
    this.#durable.clear();
  }

  localPath(key: FileKey): string {
    return LAYOUT.fileKey(this.#root, key);
  }

  /** Looks on what kind of disk the folder is, again and again: another one may be mounted there meanwhile. */
  async #look(): Promise<void> {
    if (this.#databasePath === undefined) return;
    const now = this.#clock?.monotonic() ?? -Infinity;
    if (now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    this.#fs = await fastestFor(this.#givenFs, this.#root, this.#databasePath);
  }

  /** Waits for file times that are still to be put in place, a few seconds at most. */
  async close(): Promise<void> {
    await this.#exactTimes?.drain();
  }

  async #openForReading(path: string, names: Readonly<Record<string, unknown>>): Promise<OpenFile> {
    try {
      return await this.#fs.open('file:open', path, 'read');
    } catch (error) {
      const translated = storageError(error);
      if (!(translated instanceof LitestreamError)) throw translated;
      const missing = isMissing(error);
      const init = {
        cause: error,
        retryable: translated.retryable,
        details: { op: 'open', path, ...names, ...translated.details },
      };
      throw new LitestreamError(
        missing ? 'ERR_STORAGE_NOT_FOUND' : translated.code,
        `open ${'key' in names ? 'object' : 'ltx file'} ${path}: ${translated.message}`,
        missing
          ? { ...init, hint: 'retention or another program may have removed the file' }
          : init,
      );
    }
  }

  /** Gives the temporary file its name unless that is taken, in one step. */
  async #publishNew(temporary: string, path: string): Promise<void> {
    try {
      await this.#fs.link('file:link', temporary, path);
    } catch (error) {
      if (osErrorCode(error) === 'EEXIST') {
        throw new LitestreamError('ERR_STORAGE_EXISTS', `link ${path}: file exists`, {
          cause: error,
          details: { path },
        });
      }
      // A file system without hard links: look, then rename.
      if ((await onDisk(this.#fs.stat('file:stat', path))) !== undefined) {
        throw new LitestreamError('ERR_STORAGE_EXISTS', `rename ${path}: file exists`, {
          details: { path },
        });
      }
      await onDisk(this.#fs.rename('file:rename', temporary, path));
      return;
    }
    await onDisk(this.#fs.remove('file:unlink', temporary));
  }

  /** Temporary file, fsync, rename, fsync of the folder. @returns the header's time. */
  async #publish(
    path: string,
    source: WriteSource,
    { signal, ifAbsent }: WriteOptions,
  ): Promise<number> {
    const directory = dirname(path);
    const temporary = `${path}.tmp`;
    const ownership = await this.#ownership();
    await this.#ensureDirectory(directory, ownership.directory);
    let createdAt: number;
    try {
      const file = await fillFile(this.#fs, temporary, { source, signal });
      createdAt = await completeFile(file, temporary, { size: source.size, owner: ownership.file });
      throwIfAborted(signal);
      if (ifAbsent === true) await this.#publishNew(temporary, path);
      else await onDisk(this.#fs.rename('file:rename', temporary, path));
    } catch (error) {
      try {
        await this.#fs.remove('file:clean-up', temporary);
      } catch {
        // The first error matters. The next write of this file replaces what is left.
      }
      throw error;
    }
    await onDisk(this.#fs.syncDirectory('file:sync-directory', directory));
    return createdAt;
  }

  /** Folders that have to be created for this one, itself first. Fails if something else stands in their place. */
  async #missingDirectories(directory: string, operation: string): Promise<string[]> {
    const missing: string[] = [];
    for (let path = directory; ; path = dirname(path)) {
      const stat = await this.#statOnTheWay(path);
      if (stat?.kind === 'directory') return missing;
      if (stat !== undefined) throw notADirectory(operation, path);
      missing.push(path);
      if (dirname(path) === path) return missing;
    }
  }

  /** Below a plain file there is nothing, too: the file itself is found one step up. */
  async #statOnTheWay(path: string): Promise<FileStat | undefined> {
    try {
      return await this.#fs.stat('file:stat-directory', path);
    } catch (error) {
      if (osErrorCode(error) === 'ENOTDIR') return undefined;
      throw storageError(error);
    }
  }

  async #ensureDirectory(directory: string, owner: Ownership | undefined): Promise<void> {
    const missing = await this.#missingDirectories(directory, 'mkdir');
    if (missing.length === 0 && this.#durable.has(directory)) return;
    if (missing.length > 0) {
      await onDisk(this.#fs.makeDirectory('file:make-directory', directory, owner));
    }
    // An earlier run may have created P/ltx/N and died before this.
    const created = new Set([directory, dirname(directory), ...missing]);
    for (const path of created) {
      if (this.#durable.has(path) && !missing.includes(path)) continue;
      await onDisk(this.#fs.syncDirectory('file:sync-parent', dirname(path)));
      this.#durable.add(path);
    }
  }
}
