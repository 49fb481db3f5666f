import { decodeHeader, LtxDecoder, type LtxHeader } from '../formats/ltx/index.ts';
import { formatTxid } from '../formats/ltx/index.ts';
import { wrapError } from '../lib/errors.ts';
import type { OpenFile } from '../lib/file-system.ts';
import type { FollowedPages, PageRun } from '../sqlite/index.ts';
import type { FileInfo, FileKey } from '../storage/index.ts';
import { fileDamage, nameFile } from './damage.ts';
import { openRange, type SourceContext } from './source.ts';

/** Larger files go to the disk, because they are read twice. */
const MEMORY_BYTES_MAX = 8 << 20;
const PIECE_BYTES = 64 << 10;
const RUN_BYTES_MAX = 1 << 20;

/** Joins pages with consecutive numbers. */
class RunBuilder {
  readonly #runs: PageRun[] = [];
  #pages: Uint8Array[] = [];
  #first = 0;
  #bytes = 0;

  readonly add = (pgno: number, data: Uint8Array): void => {
    const isNext = pgno === this.#first + this.#pages.length;
    if (!isNext || this.#bytes + data.length > RUN_BYTES_MAX) this.#end();
    if (this.#pages.length === 0) this.#first = pgno;
    this.#pages.push(data.slice());
    this.#bytes += data.length;
  };

  take(): PageRun[] {
    this.#end();
    return this.#runs.splice(0);
  }

  #end(): void {
    if (this.#pages.length === 0) return;
    this.#runs.push({ pgno: this.#first, data: Buffer.concat(this.#pages) });
    this.#pages = [];
    this.#bytes = 0;
  }
}

function range({ minTxid, maxTxid }: Pick<FileKey, 'minTxid' | 'maxTxid'>): string {
  return `${formatTxid(minTxid)}-${formatTxid(maxTxid)}`;
}

/** An LTX file at hand: in memory or, if it is large, in a temporary file. */
export class FetchedFile implements FollowedPages, AsyncDisposable {
  readonly #info: FileInfo;
  readonly #header: LtxHeader;
  readonly #bytes: Uint8Array | OpenFile;
  readonly #discard: () => Promise<void>;

  private constructor(
    info: FileInfo,
    head: Uint8Array,
    held: { bytes: Uint8Array | OpenFile; discard: () => Promise<void> },
  ) {
    this.#info = info;
    this.#header = readHeader(info, head);
    this.#bytes = held.bytes;
    this.#discard = held.discard;
  }

  /**
   * Downloads a file. Its pages are verified when they are read.
   *
   * @throws LitestreamError `ERR_LTX_HEADER`, `ERR_LTX_CORRUPTED`, storage errors, `ERR_DISK_FULL`, `ERR_ABORTED`
   */
  static async fetch(
    context: SourceContext,
    info: FileInfo,
    temporaryPath: string,
  ): Promise<FetchedFile> {
    const reader = openRange(context, info, 0, info.size);
    try {
      if (info.size <= MEMORY_BYTES_MAX) {
        const bytes = new Uint8Array(info.size);
        await reader.fill(bytes);
        return new FetchedFile(info, bytes, { bytes, discard: () => Promise.resolve() });
      }
      const { fileSystem } = context;
      const file = await fileSystem.open('follow:spool', temporaryPath, 'create');
      const discard = async (): Promise<void> => {
        await file.close();
        await fileSystem.remove('follow:spool-remove', temporaryPath);
      };
      try {
        const head = new Uint8Array(Math.min(PIECE_BYTES, info.size));
        for (let at = 0; at < info.size; at += PIECE_BYTES) {
          const piece = new Uint8Array(Math.min(PIECE_BYTES, info.size - at));
          await reader.fill(piece);
          if (at === 0) head.set(piece);
          await file.write('follow:spool', piece, at);
        }
        return new FetchedFile(info, head, { bytes: file, discard });
      } catch (error) {
        await discard();
        throw error;
      }
    } finally {
      await reader.close();
    }
  }

  get pageSize(): number {
    return this.#header.pageSize;
  }

  get commit(): number {
    return this.#header.commit;
  }

  /** All pages; ends only if the whole file is sound. */
  async *pages(): AsyncGenerator<PageRun, void, undefined> {
    const builder = new RunBuilder();
    const decoder = new LtxDecoder({ onPage: builder.add });
    try {
      for await (const piece of this.#pieces()) {
        decoder.write(piece);
        yield* builder.take();
      }
      decoder.end();
    } catch (error) {
      throw nameFile(this.#info, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#discard();
  }

  async *#pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    const { size } = this.#info;
    for (let at = 0; at < size; at += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, size - at);
      if (this.#bytes instanceof Uint8Array) {
        yield this.#bytes.subarray(at, at + length);
      } else {
        const piece = new Uint8Array(length);
        const read = await this.#bytes.read('follow:spool-read', piece, at);
        yield piece.subarray(0, read);
      }
    }
  }
}

function readHeader(info: FileInfo, bytes: Uint8Array): LtxHeader {
  let header: LtxHeader;
  try {
    header = decodeHeader(bytes);
  } catch (error) {
    throw nameFile(info, wrapError('decode header', error));
  }
  if (header.minTxid === info.minTxid && header.maxTxid === info.maxTxid) return header;
  throw fileDamage(info, 'header disagrees with the file name', {
    field: 'minTxid and maxTxid',
    offset: 16,
    expected: range(info),
    found: range(header),
  });
}
