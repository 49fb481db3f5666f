import { readFileSync } from 'node:fs';

const HEADER_SIZE = 100;
const TRAILER_SIZE = 16;

/** What tests want to know of an LTX file, read without the code under test. */
export interface LtxFacts {
  /** Pages in the file. */
  readonly pages: number;
  /** Size of the database in pages. */
  readonly commit: number;
  readonly pageSize: number;
  /** End of the range of the WAL that it holds, in bytes. */
  readonly walEnd: number;
}

/** Reads header and page index. Spec: formats 2. */
export function readLtxFacts(path: string): LtxFacts {
  const data = readFileSync(path);
  const indexEnd = data.length - TRAILER_SIZE - 8;
  let at = indexEnd - Number(data.readBigUInt64BE(indexEnd));
  if (data.length < HEADER_SIZE || at < HEADER_SIZE) throw new Error(`no LTX file: ${path}`);
  const skip = (): boolean => {
    const some = data[at] !== 0;
    while ((data[at] ?? 0) >= 128) at += 1;
    at += 1;
    return some;
  };
  let pages = 0;
  while (at < indexEnd && skip()) {
    skip();
    skip();
    pages += 1;
  }
  return {
    pages,
    commit: data.readUInt32BE(12),
    pageSize: data.readUInt32BE(8),
    walEnd: Number(data.readBigInt64BE(48) + data.readBigInt64BE(56)),
  };
}
