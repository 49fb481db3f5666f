import { formatTxid, type Txid } from '../../formats/ltx/index.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import type { FileInfo, FileKey, ReplicaClient } from '../../storage/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { LocalFiles, TxidRange } from '../db/local-files.ts';
import { PageSizes } from './page-sizes.ts';
import type { WriterGuard } from './writer-guard.ts';

/** Why uploads cannot go on. */
export interface BridgeNeed {
  /** The file that is gone, or that cannot follow those before it. */
  readonly txid: Txid;
  readonly why: 'files are gone' | 'page size changed';
  /** What is wrong if nobody bridges it. */
  readonly cause: unknown;
}

export interface FileUploadsInit {
  readonly files: LocalFiles;
  readonly client: ReplicaClient;
  readonly guard: WriterGuard;
  readonly logger: Logger;
}

/** Uploads local files to one replica, one at a time. */
export class FileUploads {
  readonly #init: FileUploadsInit;
  readonly #order: PageSizes;

  constructor(init: FileUploadsInit) {
    this.#init = init;
    this.#order = new PageSizes(init.files, init.client);
  }

  /** Uploads files at or below the position once more, as far as they are still here; returns those that were. */
  async again(txids: readonly Txid[], signal: AbortSignal | undefined): Promise<FileInfo[]> {
    const uploaded: FileInfo[] = [];
    for (const txid of txids) {
      // What overlaps files that are there already would break the chain for other programs.
      if (this.#init.files.isMerged(txid)) continue;
      try {
        uploaded.push(await this.#upload({ minTxid: txid, maxTxid: txid }, signal));
      } catch (error) {
        if (!isLitestreamError(error, 'ERR_LTX_MISSING')) throw error;
      }
    }
    return uploaded;
  }

  /**
   * Uploads the file that holds a TXID; returns its last one, or what is in the way.
   *
   * @param stored - the newest file that the replica had at the first look
   * @param bridged - somebody writes snapshots for what is in the way
   */
  async next(
    txid: Txid,
    { bridged, stored }: { readonly bridged: boolean; readonly stored: FileKey | undefined },
    signal: AbortSignal | undefined,
  ): Promise<Txid | BridgeNeed> {
    const { files } = this.#init;
    const range = files.rangeOf(txid);
    const { maxTxid } = range;
    try {
      // The first part of a merged file may be there already.
      if (range.minTxid < txid) throw missing(files.pathOf(maxTxid), txid);
      if (bridged && !(await this.#order.follows(range, stored, signal))) return resized(maxTxid);
      await this.#upload(range, signal);
      this.#order.uploaded(maxTxid);
      return maxTxid;
    } catch (error) {
      if (!isLitestreamError(error, 'ERR_LTX_MISSING')) throw error;
      // It was merged with others meanwhile.
      if (files.rangeOf(txid).maxTxid !== maxTxid)
        return this.next(txid, { bridged, stored }, signal);
      return { txid, why: 'files are gone', cause: error };
    }
  }

  /** File `txid` cannot follow those before it. */
  breakAt(txid: Txid): void {
    this.#order.breakAt(txid);
  }

  /** A snapshot up to here is in the replica. */
  skipTo(txid: Txid): void {
    this.#order.skipTo(txid);
  }

  async #upload(range: TxidRange, signal: AbortSignal | undefined): Promise<FileInfo> {
    const { maxTxid, minTxid } = range;
    const source = await this.#init.files.source(maxTxid);
    const key = { level: 0, minTxid, maxTxid };
    const info = await this.#init.guard.writeNew(key, source, signal);
    this.#init.logger.log('debug', 'ltx file uploaded', {
      level: 0,
      minTXID: minTxid,
      maxTXID: maxTxid,
      size: info.size,
    });
    return info;
  }
}

function resized(txid: Txid): BridgeNeed {
  const text = `no snapshot up to ${formatTxid(txid)}, from which on pages have another size`;
  return { txid, why: 'page size changed', cause: new LitestreamError('ERR_LTX_MISSING', text) };
}

function missing(path: string, txid: Txid): LitestreamError {
  const text = `ltx file ${path} begins before ${formatTxid(txid)}`;
  return new LitestreamError('ERR_LTX_MISSING', text, { details: { path, txid } });
}
