import { encodeLtxFile, LTX_NO_CHECKSUM, type LtxPage, toTxid } from '../formats/ltx/index.ts';
import { bytesSource, type FileInfo, type ReplicaClient } from '../storage/index.ts';

/** One state of a database: page n is at index n − 1. */
export type Image = readonly Uint8Array[];

/** A file to be put into a replica. */
export interface TestFile {
  readonly level: number;
  readonly min: number;
  readonly max: number;
  readonly commit: number;
  readonly pages: readonly LtxPage[];
  readonly payload?: 'block' | 'frame';
  /** Milliseconds since the Unix epoch; default 1000 · max. */
  readonly timestampMs?: number;
}

export function encodeTestFile(file: TestFile, pageSize: number): Uint8Array<ArrayBuffer> {
  const header = {
    flags: LTX_NO_CHECKSUM,
    pageSize,
    commit: file.commit,
    minTxid: toTxid(file.min),
    maxTxid: toTxid(file.max),
    timestampMs: file.timestampMs ?? file.max * 1000,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  return encodeLtxFile({ header, pages: file.pages }, { payload: file.payload ?? 'block' });
}

/** Stores any bytes under a file's name. */
export async function putBytes(
  client: ReplicaClient,
  file: Pick<TestFile, 'level' | 'min' | 'max'>,
  bytes: Uint8Array,
): Promise<FileInfo> {
  const key = { level: file.level, minTxid: toTxid(file.min), maxTxid: toTxid(file.max) };
  return await client.write(key, bytesSource(bytes));
}

export async function putFile(
  client: ReplicaClient,
  file: TestFile,
  pageSize: number,
): Promise<FileInfo> {
  return await putBytes(client, file, encodeTestFile(file, pageSize));
}

/** Numbered pages of an image. */
export function pagesOf(image: Image): LtxPage[] {
  return image.map((data, index) => ({ pgno: index + 1, data }));
}

/** Merges files as compaction does: newest version of each page, pages above the last size dropped. */
export function mergeFiles(files: readonly TestFile[], level: number): TestFile {
  const pages = new Map<number, Uint8Array>();
  for (const file of files) for (const { pgno, data } of file.pages) pages.set(pgno, data);
  const [first, last] = [files[0], files.at(-1)];
  if (first === undefined || last === undefined) throw new Error('nothing to merge');
  return {
    level,
    min: first.min,
    max: last.max,
    commit: last.commit,
    pages: [...pages]
      .filter(([pgno]) => pgno <= last.commit)
      .toSorted(([a], [b]) => a - b)
      .map(([pgno, data]) => ({ pgno, data })),
  };
}

export function concat(image: Image): Uint8Array {
  return Uint8Array.from(image.flatMap((page) => [...page]));
}
