import { alignedBytes } from '../lib/direct-file.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { FileSystem, OpenFile, Ownership } from '../lib/file-system.ts';
import { bytesSource, concatBytes, fileSource, type WriteSource } from '../storage/index.ts';

/** Up to this size a file stays in memory. */
const MEMORY_BYTES = 1024 * 1024;
/** Of one direct write. */
const GATHER_BYTES = 1024 * 1024;

/** Kept for the next spool: most follow each other, and a new one for each was work for the garbage collector. */
let idleGather: Uint8Array | undefined;

function takeGather(): Uint8Array {
  const gather = idleGather ?? alignedBytes(GATHER_BYTES);
  idleGather = undefined;
  return gather;
}

/** Where a {@link Spool} writes what is too large for memory. */
export interface SpoolOptions {
  readonly fileSystem: FileSystem;
  /** Of the temporary file; ends in `.tmp`. Its folder exists. */
  readonly path: string;
  readonly owner?: Ownership | undefined;
  /** 1 MiB without it; for tests. */
  readonly memoryBytes?: number | undefined;
  /** Nobody reads the file soon: it need not go through the page cache. */
  readonly isDirect?: boolean | undefined;
}

/**
 * Takes a file whose size is not known in advance, for an upload that must know it: in memory while it is small, else in a
 * temporary file. {@link discard} must be called, whatever happens.
 */
export class Spool {
  readonly #options: SpoolOptions;
  readonly #memoryBytes: number;
  #chunks: Uint8Array[] = [];
  #file: OpenFile | undefined;
  #size = 0;
  /** Bytes on their way to a direct write. */
  #gather: Uint8Array | undefined;
  #gathered = 0;

  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#memoryBytes = options.memoryBytes ?? MEMORY_BYTES;
  }

  get size(): number {
    return this.#size;
  }

  /** Takes the next bytes; they are the caller's again once the promise resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    const position = this.#size;
    this.#size += bytes.length;
    if (this.#file === undefined && this.#size <= this.#memoryBytes) {
      this.#chunks.push(bytes.slice());
      return;
    }
    this.#file ??= await this.#spill();
    await this.#put(this.#file, bytes, position);
  }

  /** Forgets everything: the file is written once more. */
  async restart(): Promise<void> {
    this.#chunks = [];
    this.#size = 0;
    this.#gathered = 0;
    await this.#file?.truncate('spool:truncate', 0);
  }

  /** The bytes, once all are there. Valid until {@link discard}. */
  async source(): Promise<WriteSource> {
    if (this.#file === undefined) return bytesSource(concatBytes(this.#chunks));
    const { fileSystem, path } = this.#options;
    await this.#putGathered(this.#file);
    return { ...fileSource(fileSystem, path, this.#size), isSpare: true };
  }

  /** A reader of the temporary file, or the bytes in memory. */
  async open(): Promise<Uint8Array | OpenFile> {
    if (this.#file === undefined) return concatBytes(this.#chunks);
    const { fileSystem, path } = this.#options;
    await this.#putGathered(this.#file);
    return fileSystem.open('spool:read', path, 'read');
  }

  /** Removes the temporary file. Never throws: the next start removes what stays. */
  async discard(): Promise<void> {
    this.#chunks = [];
    const gather = this.#gather;
    this.#gather = undefined;
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    const { fileSystem, path } = this.#options;
    try {
      await file.close();
      // Nobody writes from it any more.
      idleGather = gather ?? idleGather;
    } catch {
      // What was not written does not matter any more.
    }
    try {
      await fileSystem.remove('spool:remove', path);
    } catch (error) {
      if (!(error instanceof LitestreamError)) throw error;
    }
  }

  async #spill(): Promise<OpenFile> {
    const { fileSystem, owner, path } = this.#options;
    // A left-over may be a second name of a file that a replica has taken over: it must go, not be written to.
    await fileSystem.remove('spool:remove', path);
    const file = await fileSystem.open('spool:open', path, 'create-new', owner?.mode ?? 0o600);
    // From here on `discard` knows of it.
    this.#file = file;
    if (owner !== undefined) await file.setOwner('spool:chown', owner);
    let position = 0;
    for (const chunk of this.#chunks) {
      await this.#put(file, chunk, position);
      position += chunk.length;
    }
    this.#chunks = [];
    return file;
  }

  async #put(file: OpenFile, bytes: Uint8Array, position: number): Promise<void> {
    if (this.#options.isDirect !== true) return file.write('spool:write', bytes, position);
    this.#gather ??= takeGather();
    const gather = this.#gather;
    for (let done = 0; done < bytes.length;) {
      const piece = bytes.subarray(done, done + gather.length - this.#gathered);
      gather.set(piece, this.#gathered);
      this.#gathered += piece.length;
      done += piece.length;
      if (this.#gathered < gather.length) return;
      await file.write('spool:write', gather, position + done - gather.length, 'direct');
      this.#gathered = 0;
    }
  }

  /** What is left; of that only the end goes through the page cache. */
  async #putGathered(file: OpenFile): Promise<void> {
    const length = this.#gathered;
    if (this.#gather === undefined || length === 0) return;
    this.#gathered = 0;
    const rest = this.#gather.subarray(0, length);
    await file.write('spool:write', rest, this.#size - length, 'direct');
  }
}
