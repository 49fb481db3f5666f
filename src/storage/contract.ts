import type { Txid } from '../formats/ltx/index.ts';
import type { Ownership } from '../lib/file-system.ts';

/** One LTX file of a replica, as a listing or a finished write reports it. */
export interface FileInfo {
  /** 0 = raw, 1…8 = compacted, 9 = snapshots. */
  readonly level: number;
  readonly minTxid: Txid;
  /** Inclusive. */
  readonly maxTxid: Txid;
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since the Unix epoch; see {@link ListOptions.accurateTimes}. */
  readonly createdAt: number;
}

/** What names one file in a replica. */
export type FileKey = Pick<FileInfo, 'level' | 'minTxid' | 'maxTxid'>;

/** What names one file to be read. The size from its listing, if given, lets a reader notice a stream that ends early. */
export type ReadKey = FileKey & { readonly size?: number | undefined };

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface ListOptions extends CallOptions {
  /** Only files with `minTxid >= seek`. A lower bound, never a name prefix. */
  readonly seek?: Txid | undefined;
  /** True: `createdAt` is the time from the LTX header (or what the layout stores of it). False: a cheap time will do. */
  readonly accurateTimes?: boolean | undefined;
}

export interface ReadOptions extends CallOptions {
  /** First byte, default 0. */
  readonly offset?: number | undefined;
  /** Number of bytes; 0 or absent = to the end. */
  readonly size?: number | undefined;
}

export interface WriteOptions extends CallOptions {
  /** Never replace a file that is there: `ERR_STORAGE_EXISTS` then. Decided by the store in one step where it can. */
  readonly ifAbsent?: boolean | undefined;
}

/** Bytes of a file that come straight into the caller's memory. One call at a time. */
export interface Download {
  /**
   * Puts the next bytes at the front of the target, which must be left alone until then. Resolves with their number; fewer than fit
   * do not mean the end, 0 does.
   *
   * @throws LitestreamError as reading the file does.
   */
  fill(target: Uint8Array): Promise<number>;
  /** Ends it, wherever it is; no target is written any more. */
  close(): void;
}

/** The bytes of a file to be written. May be asked for its stream more than once (retries). */
export interface WriteSource {
  /** Exact number of bytes that {@link stream} yields. */
  readonly size: number;
  /** The same bytes as a local file that does not change during the write, if there is one. */
  readonly path?: string | undefined;
  /**
   * The file at `path` is nobody's any more once the write is over: a second name for it does as well as a copy. Its owner removes
   * the first name.
   */
  readonly isSpare?: boolean | undefined;
  stream(signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

/** Any object below a replica's path. */
export interface ObjectInfo {
  /** Relative to the replica's path, parts separated by `/`. */
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** Last modification, milliseconds since the Unix epoch, with fraction where the storage knows it. */
  readonly modifiedAt: number;
}

/** What new files and folders of a replica take over from the database and its folder, where files are local. */
export interface ReplicaOwnership {
  readonly file?: Ownership | undefined;
  readonly directory?: Ownership | undefined;
}

/**
 * Where the files of one replica live. Implementations hold no state that a new instance could not rebuild, may be used
 * concurrently, and translate every error of their service into a `LitestreamError` with one of the codes
 * `ERR_STORAGE_NOT_FOUND`, `ERR_STORAGE_DENIED`, `ERR_STORAGE_TEMPORARY`, `ERR_DISK_FULL`, `ERR_STORAGE`, `ERR_ABORTED`.
 *
 * Every call ends within a bound of the provider's own, or when its signal fires.
 */
export interface ReplicaClient {
  /** `file`, `s3`, `gs`, `abs`, `oss`, `sftp`, `nats`, `webdav`, `memory`. */
  readonly type: string;
  /** What distinguishes this location from others, without secrets: two clients with equal locations share files. */
  readonly location: string;

  /** Idempotent; every other call does it by itself when needed. */
  init(options?: CallOptions): Promise<void>;

  /**
   * Well-formed files of one level in ascending (minTxid, maxTxid) order; other names are skipped silently, a level that does
   * not exist is empty. An error while listing is thrown from the iterator, never mistaken for its end.
   */
  list(level: number, options?: ListOptions): AsyncIterable<FileInfo>;

  /** Levels that may hold files now, ascending. Only clients have this that know with one look, without a listing of each. */
  levels?(options?: CallOptions): Promise<readonly number[]>;

  /**
   * The time of one listed file as a listing with {@link ListOptions.accurateTimes} gives it. Only clients have this whose listings
   * take a request per file for it.
   *
   * @throws LitestreamError `ERR_STORAGE_NOT_FOUND` if the file has gone.
   */
  timeOf?(file: FileInfo, options?: CallOptions): Promise<number>;

  /**
   * Streams a file's bytes; fewer than asked for if the file ends first. Each chunk belongs to the caller.
   *
   * @throws LitestreamError `ERR_STORAGE_NOT_FOUND` if it does not exist (while reading).
   */
  read(key: ReadKey, options?: ReadOptions): AsyncIterable<Uint8Array>;

  /**
   * {@link read} for large parts of a file, at less cost and not resumed when it breaks off. Only clients have this that can do
   * better than a stream.
   */
  open?(key: ReadKey, options?: ReadOptions): Promise<Download>;

  /**
   * Stores a file: visible under its name atomically and complete, or not at all; an existing one is replaced, or
   * kept with `ifAbsent`. Reads the LTX
   * header for the creation time, demands nothing more of the content, and propagates an error of the source.
   */
  write(key: FileKey, source: WriteSource, options?: WriteOptions): Promise<FileInfo>;

  /** Deletes files; a missing one counts as deleted. */
  delete(keys: readonly FileKey[], options?: CallOptions): Promise<void>;

  /** Deletes everything below the replica's path, data of other layouts included. */
  deleteAll(options?: CallOptions): Promise<void>;

  /** The local path of a file, where files are local (lets readers use positioned reads); otherwise undefined. */
  localPath?(key: FileKey): string;

  /** The name of a file in the store, for log lines; only where files are objects with names of their own. */
  objectKey?(key: FileKey): string;

  /**
   * Everything below a folder such as `generations`, subfolders included, in no particular order; a folder that does not exist is
   * empty. Only providers whose replicas may hold data of Litestream v0.3.x have this; they have {@link readObject}, too.
   */
  listObjects?(folder: string, options?: CallOptions): AsyncIterable<ObjectInfo>;

  /** {@link read} for what {@link listObjects} has found. */
  readObject?(object: ObjectInfo, options?: ReadOptions): AsyncIterable<Uint8Array>;

  /**
   * Waits until this client may write, where that takes a lease; writes wait for themselves otherwise. Returns true if the
   * lease was taken by this call: another process may have written until now, so what was read before may be old.
   *
   * @throws LitestreamError `ERR_LEASE_NOT_HELD` once another process has taken over.
   */
  beginWriting?(options?: CallOptions): Promise<boolean>;

  close(): Promise<void>;
}
