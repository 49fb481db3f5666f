import { decodeHeader, LTX_HEADER_SIZE, toTxid, type Txid } from '../../formats/ltx/index.ts';
import { isLitestreamError } from '../../lib/errors.ts';
import { isMissing } from '../../lib/os-error.ts';
import { readRange, type FileKey, type ReplicaClient } from '../../storage/index.ts';
import type { LocalFiles, TxidRange } from '../db/local-files.ts';

/**
 * Which local files may follow the one that was uploaded last. One with pages of another size may not: whoever restores cannot put it
 * on top of what was before. It holds every page, and needs a snapshot of its own.
 *
 * Spec: replication W-26.
 */
export class PageSizes {
  readonly #files: LocalFiles;
  readonly #client: ReplicaClient;
  /** Page size of the last file that is in the replica. */
  #last: { readonly txid: bigint; readonly pageSize: number | undefined } | undefined;
  /** What was read from the next one. */
  #next: { readonly txid: bigint; readonly pageSize: number | undefined } | undefined;
  /** A file of which this is known without looking. */
  #breakAt: Txid | undefined;

  constructor(files: LocalFiles, client: ReplicaClient) {
    this.#files = files;
    this.#client = client;
  }

  /** Notes a file that cannot follow those before it. */
  breakAt(txid: Txid): void {
    this.#breakAt = txid;
  }

  /**
   * False if the next file cannot follow the last one.
   *
   * @param stored - the newest file of the replica, where the last one may not be here any more
   * @throws LitestreamError of the store, if that has to be read
   */
  async follows(
    { maxTxid, minTxid }: TxidRange,
    stored: FileKey | undefined,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const before = minTxid - 1n;
    if (this.#last?.txid !== before) {
      let pageSize = await this.#pageSize(before);
      if (stored?.maxTxid === before) pageSize ??= await this.#storedPageSize(stored, signal);
      this.#last = { txid: before, pageSize };
    }
    const pageSize = await this.#pageSize(maxTxid);
    this.#next = { txid: maxTxid, pageSize };
    const breakAt = this.#breakAt;
    if (breakAt !== undefined && minTxid <= breakAt && breakAt <= maxTxid) return false;
    const { pageSize: last } = this.#last;
    return last === undefined || pageSize === undefined || last === pageSize;
  }

  /** The file is in the replica. */
  uploaded(txid: Txid): void {
    if (this.#next?.txid === txid) this.#last = this.#next;
  }

  /** A snapshot up to here is in the replica. */
  skipTo(txid: Txid): void {
    if (this.#breakAt !== undefined && this.#breakAt <= txid) this.#breakAt = undefined;
    this.#last = undefined;
  }

  /** Undefined if the file is not here, or damaged: then somebody else will say so. */
  async #pageSize(txid: bigint): Promise<number | undefined> {
    if (txid <= 0n) return undefined;
    let header: Uint8Array;
    try {
      header = await this.#files.header(toTxid(txid));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
    return pageSizeOf(header);
  }

  async #storedPageSize(
    key: FileKey,
    signal: AbortSignal | undefined,
  ): Promise<number | undefined> {
    try {
      return pageSizeOf(await readRange(this.#client, key, { size: LTX_HEADER_SIZE, signal }));
    } catch (error) {
      if (isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND')) return undefined;
      throw error;
    }
  }
}

function pageSizeOf(header: Uint8Array): number | undefined {
  try {
    return decodeHeader(header).pageSize;
  } catch {
    return undefined;
  }
}
