import {
  checksumPair,
  walChecksum,
  walChecksumBigEndian,
  walChecksumBytes,
} from '../../kernels/index.ts';
import type { ChecksumPair } from '../../kernels/index.ts';

/** Bytes of the WAL header. */
export const WAL_HEADER_SIZE = 32;
/** Bytes before the page of each frame. */
export const WAL_FRAME_HEADER_SIZE = 24;

const MAGIC_LITTLE_ENDIAN = 0x377f0682;
const MAGIC_BIG_ENDIAN = 0x377f0683;
const VERSION = 3007000;

/** The header of a WAL file. Spec: formats 6.2. */
export interface WalHeader {
  /** Byte order of the words that are summed; stored integers are always big-endian. */
  readonly bigEndian: boolean;
  /** Bytes. */
  readonly pageSize: number;
  /** Counts restarts by the connection that wrote it: proves nothing. */
  readonly sequence: number;
  readonly salt1: number;
  readonly salt2: number;
  readonly checksum1: number;
  readonly checksum2: number;
}

export type WalHeaderResult =
  | { readonly kind: 'ok'; readonly header: WalHeader }
  /** Fewer than 32 bytes, or a header that is just being written. */
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'bad-magic'; readonly magic: number }
  | { readonly kind: 'bad-version'; readonly version: number };

/** Parses and verifies the first 32 bytes of a WAL. */
export function parseWalHeader(bytes: Uint8Array): WalHeaderResult {
  if (bytes.length < WAL_HEADER_SIZE) return { kind: 'incomplete' };
  const view = new DataView(bytes.buffer, bytes.byteOffset, WAL_HEADER_SIZE);
  const magic = view.getUint32(0);
  if (magic !== MAGIC_LITTLE_ENDIAN && magic !== MAGIC_BIG_ENDIAN) {
    return { kind: 'bad-magic', magic };
  }
  const bigEndian = magic === MAGIC_BIG_ENDIAN;
  const checksum1 = view.getUint32(24);
  const checksum2 = view.getUint32(28);
  const pair = checksumPair();
  walChecksumBytes(bytes.subarray(0, 24), bigEndian, pair);
  if ((pair[0] ?? 0) >>> 0 !== checksum1 || (pair[1] ?? 0) >>> 0 !== checksum2) {
    return { kind: 'incomplete' };
  }
  const version = view.getUint32(4);
  if (version !== VERSION) return { kind: 'bad-version', version };
  const header: WalHeader = {
    bigEndian,
    pageSize: view.getUint32(8),
    sequence: view.getUint32(12),
    salt1: view.getUint32(16),
    salt2: view.getUint32(20),
    checksum1,
    checksum2,
  };
  return { kind: 'ok', header };
}

/** The header of one frame; nothing is verified. Spec: formats 6.3. */
export interface WalFrame {
  readonly pgno: number;
  /** Database size in pages if this frame ends a transaction, else 0. */
  readonly commit: number;
  readonly salt1: number;
  readonly salt2: number;
  /** Cumulative. */
  readonly checksum1: number;
  readonly checksum2: number;
}

/** @param bytes - at least 24 bytes. */
export function parseWalFrame(bytes: Uint8Array): WalFrame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, WAL_FRAME_HEADER_SIZE);
  return {
    pgno: view.getUint32(0),
    commit: view.getUint32(4),
    salt1: view.getUint32(8),
    salt2: view.getUint32(12),
    checksum1: view.getUint32(16),
    checksum2: view.getUint32(20),
  };
}

/** File size of a WAL with `frames` frames, in doubles: 32-bit arithmetic overflows. */
export function walSize(frames: number, pageSize: number): number {
  return WAL_HEADER_SIZE + frames * (WAL_FRAME_HEADER_SIZE + pageSize);
}

/** Input and output of {@link scanFrames}; one object is used again and again. */
export interface FrameScan {
  /** In: what the frames must carry. */
  salt1: number;
  salt2: number;
  bigEndian: boolean;
  pageSize: number;
  /** In: checksum before the first frame. Out: after the last valid frame. */
  readonly pair: ChecksumPair;
  /** Out, per valid frame. */
  readonly pgnos: Uint32Array;
  readonly commits: Uint32Array;
  /** Out: number of valid frames. */
  count: number;
  /** Out: index of the last frame that ends a transaction, −1 if none does. */
  lastCommit: number;
  /** Out: checksum after that frame. */
  commitChecksum1: number;
  commitChecksum2: number;
}

/** @param frames - the most frames that one scan can report. */
export function createFrameScan(frames: number): FrameScan {
  return {
    salt1: 0,
    salt2: 0,
    bigEndian: false,
    pageSize: 0,
    pair: checksumPair(),
    pgnos: new Uint32Array(frames),
    commits: new Uint32Array(frames),
    count: 0,
    lastCommit: -1,
    commitChecksum1: 0,
    commitChecksum2: 0,
  };
}

function swap32(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

/**
 * Scans whole frames from the start of a window until one has other salts, a wrong cumulative checksum or page number 0, or
 * `length` or the scan's capacity is used up. Allocates nothing.
 *
 * @param words - the window's memory as little-endian words, from its first byte on.
 * @param length - bytes of the window that are filled.
 * @returns the number of valid frames.
 */
export function scanFrames(words: Int32Array, length: number, scan: FrameScan): number {
  const { pair, pgnos, commits, bigEndian } = scan;
  const checksum = bigEndian ? walChecksumBigEndian : walChecksum;
  const frameWords = (WAL_FRAME_HEADER_SIZE + scan.pageSize) / 4;
  const salt1 = swap32(scan.salt1) | 0;
  const salt2 = swap32(scan.salt2) | 0;
  const frames = Math.min(pgnos.length, Math.floor(length / (frameWords * 4)));
  scan.lastCommit = -1;
  let count = 0;
  for (; count < frames; count++) {
    const at = count * frameWords;
    if (words[at] === 0 || words[at + 2] !== salt1 || words[at + 3] !== salt2) break;
    const before0 = pair[0] ?? 0;
    const before1 = pair[1] ?? 0;
    checksum(words, at, at + 2, pair);
    checksum(words, at + 6, at + frameWords, pair);
    const sum1 = (pair[0] ?? 0) >>> 0;
    const sum2 = (pair[1] ?? 0) >>> 0;
    if (swap32(words[at + 4] ?? 0) !== sum1 || swap32(words[at + 5] ?? 0) !== sum2) {
      pair[0] = before0;
      pair[1] = before1;
      break;
    }
    pgnos[count] = swap32(words[at] ?? 0);
    const commit = swap32(words[at + 1] ?? 0);
    commits[count] = commit;
    if (commit === 0) continue;
    scan.lastCommit = count;
    scan.commitChecksum1 = sum1;
    scan.commitChecksum2 = sum2;
  }
  scan.count = count;
  return count;
}
