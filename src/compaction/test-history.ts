import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFileSystem, type FileSystem } from '../lib/file-system.ts';
import { encodeLtxFile, LTX_NO_CHECKSUM, toTxid, type LtxPage } from '../formats/ltx/index.ts';
import { bytesSource, type FileInfo, type ReplicaClient } from '../storage/index.ts';
import type { TemporaryFiles } from './compact.ts';

export const PAGE_SIZE = 512;
/** Creation time of TXID n is this + 1000 · n. */
export const START_MS = 1_735_689_600_000;

/** What one transaction does to a database. */
export interface Step {
  /** Database size in pages afterwards. */
  readonly commit: number;
  /** Pages that change, among those that remain; new ones always do. */
  readonly touched: readonly number[];
}

/** A database as a list of pages, and what each transaction wrote. */
export interface History {
  /** State after TXID n, at index n. */
  readonly images: readonly (readonly Uint8Array[])[];
  /** Pages of TXID n, at index n. */
  readonly files: readonly (readonly LtxPage[])[];
}

function pageOf(txid: number, pgno: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE).fill(pgno);
  // Half of the pages do not compress.
  if ((txid + pgno) % 2 === 0) {
    let state = txid * 7919 + pgno * 104_729 + 1;
    for (let at = 0; at < PAGE_SIZE; at++) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      page[at] = state >>> 16;
    }
  }
  new DataView(page.buffer).setUint32(0, txid);
  return page;
}

/** Plays steps; the first transaction holds the whole database. */
export function play(steps: readonly Step[]): History {
  const images: Uint8Array[][] = [[]];
  const files: LtxPage[][] = [[]];
  for (const [index, { commit, touched }] of steps.entries()) {
    const txid = index + 1;
    const before = images[index] ?? [];
    const pages: LtxPage[] = [];
    const image = Array.from({ length: commit }, (_, at) => {
      const known = before[at];
      if (known !== undefined && !touched.includes(at + 1)) return known;
      const data = pageOf(txid, at + 1);
      pages.push({ pgno: at + 1, data });
      return data;
    });
    images.push(image);
    files.push(pages);
  }
  return { images, files };
}

/** The LTX file of one TXID. */
export function encodeTransaction(
  history: History,
  txid: number,
  payload: 'block' | 'frame' = 'block',
): Uint8Array<ArrayBuffer> {
  const commit = history.images[txid]?.length ?? 0;
  const header = {
    flags: LTX_NO_CHECKSUM,
    pageSize: PAGE_SIZE,
    commit,
    minTxid: toTxid(txid),
    maxTxid: toTxid(txid),
    timestampMs: START_MS + txid * 1000,
    preApplyChecksum: 0n,
    walOffset: 32,
    walSize: 1072,
    walSalt1: 1,
    walSalt2: 2,
    nodeId: 0n,
  };
  return encodeLtxFile({ header, pages: history.files[txid] ?? [] }, { payload });
}

/** Stores bytes as a file of level 0. */
export function putTransaction(
  client: ReplicaClient,
  txid: number,
  bytes: Uint8Array,
): Promise<FileInfo> {
  const key = { level: 0, minTxid: toTxid(txid), maxTxid: toTxid(txid) };
  return client.write(key, bytesSource(bytes));
}

/** A folder for temporary files. */
export async function temporaryFolder(
  fileSystem: FileSystem = nodeFileSystem,
): Promise<TemporaryFiles & { readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'compaction-'));
  return { fileSystem, folder, path: (name) => join(folder, name) };
}
