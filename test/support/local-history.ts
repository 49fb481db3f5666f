import { readFileSync } from 'node:fs';
import { decodeLtxFile, type LtxFile, type Txid } from '../../src/formats/ltx/index.ts';
import type { LocalFiles } from '../../src/engine/db/local-files.ts';
import type { MemoryStore } from '../../src/testing/index.ts';

/** A local file, decoded. */
export function readLocal(files: LocalFiles, txid: Txid): LtxFile {
  return decodeLtxFile(readFileSync(files.pathOf(txid)));
}

/** The database that all local files together make, or those up to `last`: page n is at index n − 1. */
export async function imageOfFiles(
  files: LocalFiles,
  last?: bigint,
): Promise<(Uint8Array | undefined)[]> {
  let image: (Uint8Array | undefined)[] = [];
  let pageSize = 0;
  for (const txid of await files.list()) {
    if (last !== undefined && txid > last) break;
    const { header, pages } = readLocal(files, txid);
    // A file with another page size begins anew: it holds every page.
    if (header.pageSize !== pageSize) image = [];
    pageSize = header.pageSize;
    for (const { pgno, data } of pages) image[pgno - 1] = data;
    image.length = header.commit;
  }
  return image;
}

/** The database that the level-0 files of a replica in memory make, from the newest full one on. */
export function imageOfReplica(store: MemoryStore, path = ''): (Uint8Array | undefined)[] {
  const prefix = path === '' ? 'ltx/0/' : `${path}/ltx/0/`;
  const image: (Uint8Array | undefined)[] = [];
  const keys = [...store.keys()].filter((key) => key.startsWith(prefix)).toSorted();
  for (const key of keys) {
    const { header, pages } = decodeLtxFile(store.get(key)?.bytes ?? new Uint8Array());
    for (const { pgno, data } of pages) image[pgno - 1] = data;
    image.length = header.commit;
  }
  return image;
}
