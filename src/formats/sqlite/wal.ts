import {
  checksumPair,
  walChecksum,
  walChecksumBigEndian,
  walChecksumBytes,
  type ChecksumPair,
} from '../../kernels/index.ts';
import { isPageSize } from '../../lib/page.ts';

/** Bytes of the WAL header. */
export const WAL_HEADER_SIZE = 32;
/** Bytes before the page of each frame. */
export const WAL_FRAME_HEADER_SIZE = 24;
const FRAME_HEADER_WORDS = WAL_FRAME_HEADER_SIZE / 4;

const MAGIC_LITTLE_ENDIAN = 0x377f0682;
const MAGIC_BIG_ENDIAN = 0x377f0683;
const VERSION = 3007000;
const CHECKSUM_AT = 24;

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

/** What the first 32 bytes of a WAL are. Only `bad-magic` and `bad-version` mean that this is no WAL that we can read. */
export type WalHeaderResult =
  | { readonly kind: 'ok'; readonly header: WalHeader }
  /** Fewer than 32 bytes: an empty WAL. */
  | { readonly kind: 'short'; readonly text: string }
  /** Half-written, as during a restart of the WAL; treat as empty. */
  | { readonly kind: 'bad-checksum'; readonly text: string }
  /** SQLite takes such a WAL for empty. */
  | { readonly kind: 'bad-page-size'; readonly text: string; readonly pageSize: number }
  | { readonly kind: 'bad-magic'; readonly text: string; readonly magic: number }
  | { readonly kind: 'bad-version'; readonly text: string; readonly version: number };

/**
 * Parses and verifies the first 32 bytes of a WAL; later bytes are ignored. Never throws: each failure has its kind and a
 * text, the reference's where there is one. Spec: formats 6.2, 6.4.
 */
export function parseWalHeader(bytes: Uint8Array): WalHeaderResult {
  if (bytes.length < WAL_HEADER_SIZE) {
    return { kind: 'short', text: `wal header has ${bytes.length} of ${WAL_HEADER_SIZE} bytes` };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, WAL_HEADER_SIZE);
  const magic = view.getUint32(0);
  if (magic !== MAGIC_LITTLE_ENDIAN && magic !== MAGIC_BIG_ENDIAN) {
    return { kind: 'bad-magic', text: `invalid wal header magic: ${magic.toString(16)}`, magic };
  }
  const header: WalHeader = {
    bigEndian: magic === MAGIC_BIG_ENDIAN,
    pageSize: view.getUint32(8),
    sequence: view.getUint32(12),
    salt1: view.getUint32(16),
    salt2: view.getUint32(20),
    checksum1: view.getUint32(24),
    checksum2: view.getUint32(28),
  };
  const pair = checksumPair();
  walChecksumBytes(bytes.subarray(0, CHECKSUM_AT), header.bigEndian, pair);
  if (pair[0]! >>> 0 !== header.checksum1 || pair[1]! >>> 0 !== header.checksum2) {
    return { kind: 'bad-checksum', text: 'wal header checksum mismatch' };
  }
  const version = view.getUint32(4);
  if (version !== VERSION) {
    return { kind: 'bad-version', text: `unsupported wal version: ${version}`, version };
  }
  const { pageSize } = header;
  if (!isPageSize(pageSize)) {
    return { kind: 'bad-page-size', text: `invalid wal page size: ${pageSize}`, pageSize };
  }
  return { kind: 'ok', header };
}

/** What {@link encodeWalHeader} needs; the checksum is computed. */
export type WalHeaderFields = Pick<
  WalHeader,
  'bigEndian' | 'pageSize' | 'sequence' | 'salt1' | 'salt2'
>;

/** The 32 bytes of a WAL header with its checksum. Spec: formats 6.2. */
export function encodeWalHeader(fields: WalHeaderFields): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(WAL_HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, fields.bigEndian ? MAGIC_BIG_ENDIAN : MAGIC_LITTLE_ENDIAN);
  view.setUint32(4, VERSION);
  view.setUint32(8, fields.pageSize);
  view.setUint32(12, fields.sequence);
  view.setUint32(16, fields.salt1);
  view.setUint32(20, fields.salt2);
  const pair = checksumPair();
  walChecksumBytes(bytes.subarray(0, CHECKSUM_AT), fields.bigEndian, pair);
  view.setInt32(24, pair[0]!);
  view.setInt32(28, pair[1]!);
  return bytes;
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

/**
 * Input and output of {@link scanFrames}; one object is used again and again.
 *
 * A transaction may reach over several windows. Feed them one after another: `pair` is then already right for the
 * next. What was committed ends behind frame `lastCommit`, with `commitChecksum1` and `commitChecksum2`; to resume there
 * later, set `pair` to these.
 */
export interface FrameScan {
  /** In: what the frames must carry. */
  salt1: number;
  salt2: number;
  bigEndian: boolean;
  /** In: a valid page size, in bytes. */
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
  /** Out: checksum after that frame, unsigned. */
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
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** Moves `scan.pair` over the frame at word `at`. False and unmoved if the frame carries another checksum. */
function extendChecksum(words: Int32Array, at: number, end: number, scan: FrameScan): boolean {
  const { pair } = scan;
  const before0 = pair[0]!;
  const before1 = pair[1]!;
  const add = scan.bigEndian ? walChecksumBigEndian : walChecksum;
  add(words, at, at + 2, pair);
  add(words, at + FRAME_HEADER_WORDS, end, pair);
  if (swap32(words[at + 4]!) === pair[0] && swap32(words[at + 5]!) === pair[1]) return true;
  pair[0] = before0;
  pair[1] = before1;
  return false;
}

/**
 * Scans whole frames from the start of a window until one has other salts, a wrong cumulative checksum or page
 * number 0, or `length` or the scan's capacity is used up. Allocates nothing. Spec: formats 6.3, 6.4.
 *
 * @param words - the window's memory as 32-bit words of a little-endian machine, from its first byte on.
 * @param length - bytes of the window that are filled; what does not make a whole frame is ignored.
 * @returns the number of valid frames.
 */
export function scanFrames(words: Int32Array, length: number, scan: FrameScan): number {
  const { pgnos, commits } = scan;
  const frameWords = FRAME_HEADER_WORDS + scan.pageSize / 4;
  const salt1 = swap32(scan.salt1);
  const salt2 = swap32(scan.salt2);
  const filled = Math.min(length, words.byteLength);
  const frames = Math.min(pgnos.length, Math.floor(filled / (frameWords * 4)));
  scan.lastCommit = -1;
  scan.commitChecksum1 = 0;
  scan.commitChecksum2 = 0;
  let count = 0;
  for (; count < frames; count++) {
    const at = count * frameWords;
    if (words[at] === 0 || words[at + 2] !== salt1 || words[at + 3] !== salt2) break;
    if (!extendChecksum(words, at, at + frameWords, scan)) break;
    pgnos[count] = swap32(words[at]!);
    const commit = swap32(words[at + 1]!);
    commits[count] = commit;
    if (commit === 0) continue;
    scan.lastCommit = count;
    scan.commitChecksum1 = scan.pair[0]! >>> 0;
    scan.commitChecksum2 = scan.pair[1]! >>> 0;
  }
  scan.count = count;
  return count;
}
