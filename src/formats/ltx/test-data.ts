import { LTX_NO_CHECKSUM, toTxid, type LtxContent, type LtxHeader, type LtxPage } from './index.ts';

/** A valid header: incremental, page size 512, commit 300, transaction 2; `change` overrides. */
export function makeHeader(change: Partial<LtxHeader> = {}): LtxHeader {
  return {
    flags: LTX_NO_CHECKSUM,
    pageSize: 512,
    commit: 300,
    minTxid: toTxid(2),
    maxTxid: toTxid(2),
    timestampMs: 1735689601000,
    preApplyChecksum: 0n,
    walOffset: 568,
    walSize: 1072,
    walSalt1: 0x11223344,
    walSalt2: 0x55667788,
    nodeId: 0n,
    ...change,
  };
}

/** A page of one byte. */
export function fill(byte: number, size = 512): Uint8Array<ArrayBuffer> {
  return new Uint8Array(size).fill(byte);
}

/** Bytes without structure; the same for the same seed. */
export function noisePage(seed: number, size = 512): Uint8Array<ArrayBuffer> {
  const page = new Uint8Array(size);
  let state = (Math.imul(seed + 1, 0x9e3779b1) | 1) >>> 0;
  for (let at = 0; at < size; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    page[at] = state >>> 16;
  }
  return page;
}

/** An incremental file with these pages. */
export function makeContent(
  pages: readonly LtxPage[],
  change: Partial<LtxHeader> = {},
): LtxContent {
  return { header: makeHeader(change), pages };
}

/** A snapshot of pages 1 … `commit` of noise and text. */
export function makeSnapshot(commit: number, change: Partial<LtxHeader> = {}): LtxContent {
  const header = makeHeader({ minTxid: toTxid(1), maxTxid: toTxid(1), commit, ...change });
  const pages = Array.from({ length: commit }, (_, index) => ({
    pgno: index + 1,
    data: index % 2 === 0 ? fill(index, header.pageSize) : noisePage(index, header.pageSize),
  }));
  return { header, pages };
}
