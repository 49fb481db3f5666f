import { join } from 'node:path';
import type { EncodePool } from '../../codec/index.ts';
import { Spool, type TemporaryFiles } from '../../compaction/index.ts';
import { decodeHeader, formatFileName, toTxid, type Txid } from '../../formats/ltx/index.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import type { FileInfo, FileKey } from '../../storage/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Database } from '../db/database.ts';
import type { Ports } from '../options.ts';
import type { BridgeNeed, Replica } from '../replica/replica.ts';
import { SNAPSHOT_LEVEL, type ReplicaView } from './replica-view.ts';
import { copyAsSnapshot, encodeSnapshot } from './snapshots.ts';

export interface SnapshotWriterInit {
  readonly database: Database;
  readonly replica: Replica;
  readonly ports: Ports;
  readonly pool: EncodePool;
  readonly logger: Logger;
  readonly view: ReplicaView;
  /** Bytes from which on the first file becomes the first snapshot. */
  readonly wholeFileBytesMin: number;
}

/**
 * Writes snapshots of one replica. A snapshot is never ahead of the replica's position: what it stands for was uploaded as level 0
 * before, and nobody else can have used its number. Where the files for that are gone, the replica is searched for another writer.
 *
 * Runs under the lock of the replica's upkeep; takes the replica's upload turn, never the other way round.
 */
export class SnapshotWriter {
  readonly #init: SnapshotWriterInit;

  constructor(init: SnapshotWriterInit) {
    this.#init = init;
  }

  /**
   * @param bridging - the snapshot stands for files that are missing: it counts from the time of its last transaction on
   * @throws LitestreamError
   */
  async write(
    { bridging = false }: { readonly bridging?: boolean },
    signal: AbortSignal | undefined,
  ): Promise<FileInfo> {
    const { database, pool, ports, replica } = this.#init;
    const { clock } = ports;
    // A store that does not answer must not cost a whole snapshot.
    const hole = await this.#catchUp(database.txid, signal);
    const view = await database.view(signal);
    if (view === undefined) throw notReady('db not ready: page size not initialized');
    const spool = this.#spool(view.txid);
    try {
      const isLate = bridging || hole !== undefined;
      const timestampMs = isLate ? await this.#timeOf(view.txid) : undefined;
      const txid = await encodeSnapshot({ view, spool, pool, clock, timestampMs, signal });
      const snapshot = { key: keyOf(txid), source: await spool.source() };
      const gone = await this.#catchUp(txid, signal);
      // The local state was given up meanwhile.
      if (replica.position === undefined)
        throw notReady('replica not ready: it is looked at again');
      const { key, source } = snapshot;
      // Somebody may have emptied the replica since, and somebody else have used the number.
      if (gone === undefined) await replica.proveOwn(txid, signal);
      const file =
        gone === undefined
          ? await replica.client.write(key, source, { signal })
          : await replica.skipTo(txid, snapshot, signal);
      return this.#written(file);
    } finally {
      view.release();
      await spool.discard();
    }
  }

  /**
   * Makes the first snapshot of a new replica from the first file of level 0, which holds the whole database, byte for byte: then no
   * level has to repeat it, and level 0 may lose it. Undefined if that file is small, or not here any more, or there is a snapshot.
   *
   * Spec: failures CMP-06.
   *
   * @throws LitestreamError
   */
  async writeFirst(signal: AbortSignal | undefined): Promise<FileInfo | undefined> {
    const { database, replica, view } = this.#init;
    const { files } = database;
    const first = toTxid(1n);
    const isNew = replica.level0From === 1n || replica.knownHistory?.level0[0] === 1n;
    const hasLevels = view.newest(1) ?? view.newest(SNAPSHOT_LEVEL);
    if (!isNew || hasLevels !== undefined || files.isMerged(first)) return undefined;
    try {
      const source = await files.source(first);
      if (source.size < this.#init.wholeFileBytesMin) return undefined;
      // Every restore will begin with it.
      await files.verify(first);
      await replica.proveOwn(first, signal);
      return this.#written(await replica.client.write(keyOf(first), source, { signal }));
    } catch (error) {
      if (isLitestreamError(error) && error.code.startsWith('ERR_LTX')) return undefined;
      throw error;
    }
  }

  /**
   * Makes a snapshot of a local file that holds every page, and uploads both. False if that file is not here, or not complete.
   *
   * @throws LitestreamError
   */
  async fromFile(txid: Txid, signal: AbortSignal | undefined): Promise<boolean> {
    const { database, replica } = this.#init;
    const { minTxid } = database.files.rangeOf(txid);
    if (minTxid !== txid || (replica.position ?? 0n) !== txid - 1n) return false;
    const spool = this.#spool(txid);
    try {
      try {
        await copyAsSnapshot(await database.files.source(txid), spool, signal);
      } catch (error) {
        if (isLitestreamError(error) && error.code.startsWith('ERR_LTX')) return false;
        throw error;
      }
      const snapshot = { key: keyOf(txid), source: await spool.source() };
      this.#written(await replica.skipTo(txid, snapshot, signal));
      return true;
    } finally {
      await spool.discard();
    }
  }

  /** Uploads up to a TXID; returns what is in the way. */
  async #catchUp(txid: Txid, signal: AbortSignal | undefined): Promise<BridgeNeed | undefined> {
    for (;;) {
      const need = await this.#init.replica.reach(txid, signal);
      if (need?.why !== 'page size changed') return need;
      if (!(await this.fromFile(need.txid, signal))) return need;
    }
  }

  #written(file: FileInfo): FileInfo {
    this.#init.view.wrote(file);
    const { maxTxid: txid, size } = file;
    this.#init.logger.log('info', 'snapshot complete', { txid, size });
    return file;
  }

  #spool(txid: Txid): Spool {
    const { database, ports, replica } = this.#init;
    const temporary = temporaryFiles(database, replica, ports);
    const path = temporary.path(`${formatFileName(1n, txid)}.snapshot.tmp`);
    return new Spool({ fileSystem: temporary.fileSystem, path, owner: temporary.owner });
  }

  /** When the state of a TXID came into being, if its file is still here. */
  async #timeOf(txid: Txid): Promise<number | undefined> {
    try {
      return decodeHeader(await this.#init.database.files.header(txid)).timestampMs;
    } catch {
      return undefined;
    }
  }
}

function keyOf(txid: Txid): FileKey {
  return { level: SNAPSHOT_LEVEL, minTxid: toTxid(1n), maxTxid: txid };
}

function notReady(text: string): LitestreamError {
  return new LitestreamError('ERR_DB_NOT_READY', text, { retryable: true });
}

/** Where temporary files of one replica's upkeep go. */
export function temporaryFiles(database: Database, replica: Replica, ports: Ports): TemporaryFiles {
  const { files } = database;
  const name = replica.options.name ?? replica.client.type;
  const at = database.replicas.indexOf(replica);
  return {
    fileSystem: ports.fileSystem,
    path: (file) => join(files.folder, `${name}-${at}.${file}`.replaceAll(/[^\w.-]/g, '_')),
    owner: files.ownership?.file,
  };
}
