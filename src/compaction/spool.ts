import { LitestreamError } from '../lib/errors.ts';
import type { FileSystem, OpenFile, Ownership } from '../lib/file-system.ts';
import { bytesSource, concatBytes, fileSource, type WriteSource } from '../storage/index.ts';

/** Up to this size a file stays in memory. */
const MEMORY_BYTES = 1024 * 1024;

/** Where a {@link Spool} writes what is too large for memory. */
export interface SpoolOptions {
  readonly fileSystem: FileSystem;
  /** Of the temporary file; ends in `.tmp`. Its folder exists. */
  readonly path: string;
  readonly owner?: Ownership | undefined;
  /** 1 MiB without it; for tests. */
  readonly memoryBytes?: number | undefined;
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
    await this.#file.write('spool:write', bytes, position);
  }

  /** Forgets everything: the file is written once more. */
  async restart(): Promise<void> {
    this.#chunks = [];
    this.#size = 0;
    await this.#file?.truncate('spool:truncate', 0);
  }

  /** The bytes, once all are there. Valid until {@link discard}. */
  async source(): Promise<WriteSource> {
    if (this.#file === undefined) return bytesSource(concatBytes(this.#chunks));
    const { fileSystem, path } = this.#options;
    await Promise.resolve();
    return { ...fileSource(fileSystem, path, this.#size), isSpare: true };
  }

  /** A reader of the temporary file, or the bytes in memory. */
  async open(): Promise<Uint8Array | OpenFile> {
    if (this.#file === undefined) return concatBytes(this.#chunks);
    const { fileSystem, path } = this.#options;
    return fileSystem.open('spool:read', path, 'read');
  }

  /** Removes the temporary file. Never throws: the next start removes what stays. */
  async discard(): Promise<void> {
    this.#chunks = [];
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    const { fileSystem, path } = this.#options;
    try {
      await file.close();
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
    const file = await fileSystem.open('spool:open', path, 'create', owner?.mode ?? 0o600);
    // From here on `discard` knows of it.
    this.#file = file;
    if (owner !== undefined) await file.setOwner('spool:chown', owner);
    let position = 0;
    for (const chunk of this.#chunks) {
      await file.write('spool:write', chunk, position);
      position += chunk.length;
    }
    this.#chunks = [];
    return file;
  }
}
