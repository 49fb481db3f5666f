import { dirname, join } from 'node:path';
import {
  formatFileName,
  LTX_HEADER_SIZE,
  LtxDecoder,
  matchFileName,
  toTxid,
  type LtxHeader,
  type Txid,
} from '../../formats/ltx/index.ts';
import { assert } from '../../lib/assert.ts';
import { errorMessage, LitestreamError } from '../../lib/errors.ts';
import type { FileSystem, OpenFile, Ownership } from '../../lib/file-system.ts';
import { isMissing } from '../../lib/os-error.ts';
import type { FileInfo, WriteSource } from '../../storage/index.ts';

const READ_BYTES = 256 * 1024;
/** The first piece, while the size of a file is not known. */
const READ_BYTES_FIRST = 64 * 1024;
const READ_BYTES_MIN = 4096;

/** Mode and owner of new files and folders, taken from the database and its folder. */
export interface LocalOwnership {
  readonly file: Ownership;
  readonly directory: Ownership;
}

/** Transactions in one file, inclusive. More than one after {@link LocalFiles.merge}. */
export interface TxidRange {
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
}

/** Receives the pages of a file while it is verified; the image is valid during the call only. */
export type PageVisitor = (pgno: number, page: Uint8Array) => void;

const HINT_MISSING =
  "LTX file is missing. This can happen after VACUUM, manual checkpoint, or state corruption. Run 'litestream reset <db>' or delete the .sqlite-litestream directory and restart.";
const HINT_CORRUPTED =
  'LTX file is corrupted. Delete the .sqlite-litestream directory and restart to recover from replica.';

/** The level-0 files of one database's metadata folder: the only queue between capture and upload. Spec: formats 5. */
export class LocalFiles {
  readonly metaPath: string;
  readonly folder: string;
  readonly #fs: FileSystem;
  #ownership: LocalOwnership | undefined;
  /** First TXID of each file that holds several, by its last one. */
  #merged: ReadonlyMap<bigint, Txid> = new Map();

  constructor(metaPath: string, fileSystem: FileSystem) {
    this.metaPath = metaPath;
    this.folder = join(metaPath, 'ltx', '0');
    this.#fs = fileSystem;
  }

  /** Must be known before the first file is created. */
  setOwnership(ownership: LocalOwnership): void {
    this.#ownership = ownership;
  }

  get ownership(): LocalOwnership | undefined {
    return this.#ownership;
  }

  /** Of the file that ends with the TXID. */
  pathOf(txid: Txid): string {
    return join(this.folder, formatFileName(this.#merged.get(txid) ?? txid, txid));
  }

  /** The file that holds a TXID, if it is one with several; else the one that would be its own. */
  rangeOf(txid: Txid): TxidRange {
    for (const [maxTxid, minTxid] of this.#merged) {
      if (minTxid <= txid && txid <= maxTxid) return { minTxid, maxTxid: toTxid(maxTxid) };
    }
    return { minTxid: txid, maxTxid: txid };
  }

  /** True if the file that ends with the TXID holds others, too. */
  isMerged(txid: Txid): boolean {
    return this.#merged.has(txid);
  }

  /** Last TXIDs of all files, ascending. Other names are ignored, and files that a merged one replaces. */
  async list(): Promise<Txid[]> {
    const { kept } = await this.#survey();
    return kept.map(({ maxTxid }) => maxTxid);
  }

  /** Removes what a crash left half-written or half-removed. */
  async removeTemporary(): Promise<void> {
    const names = await this.#fs.list('l0:list', this.folder);
    for (const name of names) {
      if (name.endsWith('.tmp')) await this.#fs.remove('l0:clean', join(this.folder, name));
    }
    const { replaced } = await this.#survey(names);
    for (const name of replaced) await this.#fs.remove('l0:clean', join(this.folder, name));
  }

  /**
   * Puts one file with the transactions of `range` in the place of theirs, durably. A crash leaves either those or both.
   *
   * @param replaced - last TXIDs of the files that it stands for
   */
  async merge(range: TxidRange, source: WriteSource, replaced: readonly Txid[]): Promise<void> {
    const { minTxid, maxTxid } = range;
    const old = replaced.map((txid) => this.pathOf(txid));
    const file = await this.create(maxTxid);
    const path = join(this.folder, formatFileName(minTxid, maxTxid));
    try {
      let position = 0;
      for await (const piece of source.stream()) {
        await file.write('l0:merge', piece, position);
        position += piece.length;
      }
      await this.#publish(this.#temporary(maxTxid), path, file);
    } catch (error) {
      await this.discard(maxTxid, file);
      throw error;
    }
    await this.#survey();
    for (const name of old) if (name !== path) await this.#fs.remove('l0:remove', name);
  }

  /** Removes all local files; the metadata folder itself stays. */
  async removeAll(): Promise<void> {
    await this.#fs.removeTree('l0:reset', join(this.metaPath, 'ltx'));
    this.#merged = new Map();
  }

  /** Removes single files. */
  async remove(txids: readonly Txid[]): Promise<void> {
    for (const txid of txids) await this.#fs.remove('l0:remove', this.pathOf(txid));
    if (this.#merged.size > 0) await this.#survey();
  }

  async makeFolder(): Promise<void> {
    await this.#fs.makeDirectory('l0:mkdir', this.folder, this.#ownership?.directory);
  }

  /** Creates `<name>.tmp`. Publish it with {@link publish}, or remove it with {@link discard}. */
  async create(txid: Txid): Promise<OpenFile> {
    assert(this.#ownership !== undefined, 'the ownership of new files is known');
    const file = await this.#fs.open(
      'l0:open',
      this.#temporary(txid),
      'create',
      this.#ownership.file.mode,
    );
    try {
      await file.setOwner('l0:chown', this.#ownership.file);
    } catch (error) {
      await this.discard(txid, file);
      throw error;
    }
    return file;
  }

  /** Fsyncs and closes the file and gives it its name, durably. */
  async publish(txid: Txid, file: OpenFile): Promise<void> {
    await this.#publish(this.#temporary(txid), this.pathOf(txid), file);
  }

  /** Removes a temporary file after a failure. Never throws. */
  async discard(txid: Txid, file: OpenFile | undefined): Promise<void> {
    try {
      await file?.close();
    } catch {
      // It may be closed already; what counts is the first failure.
    }
    try {
      await this.#fs.remove('l0:discard', this.#temporary(txid));
    } catch {
      // The next start removes it.
    }
  }

  /**
   * Reads a whole file, verifies its structure and checksum, and hands out its pages.
   *
   * @throws LitestreamError `ERR_LTX_MISSING`, `ERR_LTX_CORRUPTED` (with the remedy as hint), `ERR_IO`
   */
  async verify(txid: Txid, visit?: PageVisitor): Promise<LtxHeader> {
    const path = this.pathOf(txid);
    let file: OpenFile;
    try {
      file = await this.#fs.open('l0:read', path, 'read');
    } catch (error) {
      if (!isMissing(error)) throw error;
      throw new LitestreamError(
        'ERR_LTX_MISSING',
        `open ltx file ${path}: ${errorMessage(error)}`,
        {
          cause: error,
          hint: HINT_MISSING,
          details: { path, txid },
        },
      );
    }
    try {
      return await decode(file, visit);
    } catch (error) {
      if (!(error instanceof LitestreamError) || !error.code.startsWith('ERR_L')) throw error;
      throw new LitestreamError(
        'ERR_LTX_CORRUPTED',
        `verify ltx file ${path}: ltx file corrupted: ${error.message}`,
        { cause: error, hint: HINT_CORRUPTED, details: { ...error.details, path, txid } },
      );
    } finally {
      await file.close();
    }
  }

  /** The local copy of a replica's file; undefined if there is none. */
  async openCopy(
    file: Pick<FileInfo, 'level' | 'minTxid' | 'maxTxid'>,
  ): Promise<OpenFile | undefined> {
    const { maxTxid, minTxid } = file;
    if (file.level !== 0 || (this.#merged.get(maxTxid) ?? maxTxid) !== minTxid) return undefined;
    try {
      return await this.#fs.open('l0:read', this.pathOf(file.maxTxid), 'read');
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** The first 100 bytes of a file. @throws LitestreamError `ERR_IO` */
  async header(txid: Txid): Promise<Uint8Array> {
    const file = await this.#fs.open('l0:read', this.pathOf(txid), 'read');
    try {
      const bytes = new Uint8Array(LTX_HEADER_SIZE);
      return bytes.subarray(0, await file.read('l0:read', bytes, 0));
    } finally {
      await file.close();
    }
  }

  /** A file's bytes for an upload. @throws LitestreamError `ERR_LTX_MISSING`, `ERR_IO` */
  async source(txid: Txid): Promise<WriteSource> {
    const path = this.pathOf(txid);
    const stat = await this.#fs.stat('l0:stat', path);
    if (stat === undefined) {
      throw new LitestreamError(
        'ERR_LTX_MISSING',
        `open ltx file ${path}: open ${path}: no such file or directory`,
        { hint: HINT_MISSING, details: { path, txid } },
      );
    }
    const { size } = stat;
    return { size, path, stream: () => this.#stream(path, size) };
  }

  async *#stream(path: string, size: number): AsyncGenerator<Uint8Array> {
    const file = await this.#fs.open('l0:read', path, 'read');
    try {
      let position = 0;
      for (;;) {
        // A byte more than is expected, so that the end of a small file is seen with no more memory than it takes.
        const piece = new Uint8Array(pieceBytes(size + 1 - position));
        const found = await file.read('l0:read', piece, position);
        if (found === 0) return;
        position += found;
        yield piece.subarray(0, found);
      }
    } finally {
      await file.close();
    }
  }

  async #publish(temporary: string, path: string, file: OpenFile): Promise<void> {
    try {
      await file.sync('l0:fsync');
    } finally {
      await file.close();
    }
    await this.#fs.rename('l0:rename', temporary, path);
    await this.#fs.syncDirectory('l0:fsync-dir', this.folder);
  }

  /** Reads the folder. */
  async #survey(names?: readonly string[]): Promise<{ kept: TxidRange[]; replaced: string[] }> {
    const ranges: TxidRange[] = [];
    for (const name of names ?? (await this.#fs.list('l0:list', this.folder))) {
      const range = matchFileName(name);
      if (range !== undefined) ranges.push(range);
    }
    const merged = ranges.filter(({ minTxid, maxTxid }) => minTxid !== maxTxid);
    const isReplaced = (range: TxidRange): boolean =>
      merged.some(
        (other) =>
          other !== range && other.minTxid <= range.minTxid && range.maxTxid <= other.maxTxid,
      );
    const kept = merged.length === 0 ? ranges : ranges.filter((range) => !isReplaced(range));
    kept.sort((a, b) => (a.maxTxid < b.maxTxid ? -1 : a.maxTxid > b.maxTxid ? 1 : 0));
    this.#merged = new Map(
      kept
        .filter(({ minTxid, maxTxid }) => minTxid !== maxTxid)
        .map(({ minTxid, maxTxid }) => [maxTxid, minTxid]),
    );
    const replaced = merged.length === 0 ? [] : ranges.filter(isReplaced);
    return {
      kept,
      replaced: replaced.map(({ minTxid, maxTxid }) => formatFileName(minTxid, maxTxid)),
    };
  }

  #temporary(txid: Txid): string {
    return join(this.folder, `${formatFileName(txid, txid)}.tmp`);
  }
}

/** Memory to read what is left of a file: most files are small, and there are many of them. */
function pieceBytes(left: number): number {
  return Math.min(READ_BYTES, Math.max(left, READ_BYTES_MIN));
}

/** Streams a file through the decoder. */
async function decode(file: OpenFile, visit: PageVisitor | undefined): Promise<LtxHeader> {
  const decoder = new LtxDecoder(visit === undefined ? {} : { onPage: visit });
  let piece = new Uint8Array(READ_BYTES_FIRST);
  let position = 0;
  for (;;) {
    const found = await file.read('l0:read', piece, position);
    if (found === 0) break;
    position += found;
    decoder.write(piece.subarray(0, found));
    if (position === READ_BYTES_FIRST) piece = new Uint8Array(READ_BYTES);
  }
  return decoder.end().header;
}

/** Mode and owner for new files: the database's; for new folders: its folder's (0700 if unknown). */
export async function ownershipOf(fs: FileSystem, path: string): Promise<LocalOwnership> {
  const database = await fs.stat('db:stat', path);
  const folder = await fs.stat('db:stat', dirname(path));
  return {
    file: {
      mode: (database?.mode ?? 0o600) & 0o777,
      uid: database?.uid ?? -1,
      gid: database?.gid ?? -1,
    },
    directory: {
      mode: (folder?.mode ?? 0o700) & 0o777,
      uid: folder?.uid ?? -1,
      gid: folder?.gid ?? -1,
    },
  };
}
