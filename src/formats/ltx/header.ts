import { isPageSize } from '../../lib/page.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { damaged, hex } from './damage.ts';
import { formatTxid, toTxid, type Txid } from './txid.ts';

/** Bytes of the file header. */
export const LTX_HEADER_SIZE = 100;
/** Bytes of the trailer. */
export const LTX_TRAILER_SIZE = 16;
/** Header flag: database checksums are not tracked; both are 0. Litestream always sets it. */
export const LTX_NO_CHECKSUM = 0x2;
/** Bit 63, set in every checksum that is present. */
export const CHECKSUM_FLAG = 0x8000_0000_0000_0000n;

const MAGIC = 0x4c545831;
const RESERVED_AT = 80;
/** Milliseconds that a JavaScript date can hold on either side of 1970. */
const TIMESTAMP_MAX = 8.64e15;

/** The header of an LTX file. Spec: formats 2.2. */
export interface LtxHeader {
  /** 0 or {@link LTX_NO_CHECKSUM}. */
  readonly flags: number;
  /** Bytes, 512 … 65536. */
  readonly pageSize: number;
  /** Database size in pages after this file is applied. */
  readonly commit: number;
  readonly minTxid: Txid;
  /** Inclusive. */
  readonly maxTxid: Txid;
  /** Milliseconds since the Unix epoch. */
  readonly timestampMs: number;
  /** Rolling database checksum before applying; 0 if none. */
  readonly preApplyChecksum: bigint;
  /** Byte offset in the source WAL where the frames of this file start; 0 = no WAL origin. */
  readonly walOffset: number;
  /** Bytes of WAL covered, from `walOffset`. */
  readonly walSize: number;
  readonly walSalt1: number;
  readonly walSalt2: number;
  /** 0 = unset. */
  readonly nodeId: bigint;
}

/** True if the file holds the whole database: its first transaction is number 1. */
export function isSnapshot(header: Pick<LtxHeader, 'minTxid'>): boolean {
  return header.minTxid === 1n;
}

interface Rule {
  readonly field: keyof LtxHeader;
  readonly offset: number;
  readonly expected: string;
  /** The reference's text if the rule is broken. */
  readonly broken: (header: LtxHeader) => string | false;
}

function tracked(header: LtxHeader): boolean {
  return (header.flags & LTX_NO_CHECKSUM) === 0;
}

function unsigned(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

/** In the order in which the reference checks; the first broken rule wins. Spec: formats 2.3. */
const RULES: readonly Rule[] = [
  {
    field: 'flags',
    offset: 4,
    expected: '0 or 2',
    broken: (h) =>
      (!unsigned(h.flags) || (h.flags & ~LTX_NO_CHECKSUM) !== 0) &&
      `invalid flags: ${hex(h.flags, 8)}`,
  },
  {
    field: 'pageSize',
    offset: 8,
    expected: 'a power of two from 512 to 65536',
    broken: (h) => !isPageSize(h.pageSize) && `invalid page size: ${h.pageSize}`,
  },
  {
    field: 'minTxid',
    offset: 16,
    expected: 'at least 1',
    broken: (h) => h.minTxid === 0n && 'minimum transaction id required',
  },
  {
    field: 'maxTxid',
    offset: 24,
    expected: 'at least 1',
    broken: (h) => h.maxTxid === 0n && 'maximum transaction id required',
  },
  {
    field: 'minTxid',
    offset: 16,
    expected: 'at most maxTxid',
    broken: (h) =>
      h.minTxid > h.maxTxid && `transaction ids out of order: (${h.minTxid},${h.maxTxid})`,
  },
  {
    field: 'walOffset',
    offset: 48,
    expected: 'at least 0',
    broken: (h) => h.walOffset < 0 && `wal offset cannot be negative: ${h.walOffset}`,
  },
  {
    field: 'walSize',
    offset: 56,
    expected: 'at least 0',
    broken: (h) => h.walSize < 0 && `wal size cannot be negative: ${h.walSize}`,
  },
  {
    field: 'walOffset',
    offset: 48,
    expected: 'above 0 where there is a salt',
    broken: (h) =>
      (h.walSalt1 !== 0 || h.walSalt2 !== 0) &&
      h.walOffset === 0 &&
      'wal offset required if salt exists',
  },
  {
    field: 'walOffset',
    offset: 48,
    expected: 'above 0 where there is a size',
    broken: (h) => h.walOffset === 0 && h.walSize !== 0 && 'wal offset required if wal size exists',
  },
  {
    field: 'preApplyChecksum',
    offset: 40,
    expected: '0',
    broken: (h) =>
      isSnapshot(h) && h.preApplyChecksum !== 0n && 'pre-apply checksum must be zero on snapshots',
  },
  {
    field: 'preApplyChecksum',
    offset: 40,
    expected: '0',
    broken: (h) =>
      !isSnapshot(h) &&
      !tracked(h) &&
      h.preApplyChecksum !== 0n &&
      'pre-apply checksum not allowed',
  },
  {
    field: 'preApplyChecksum',
    offset: 40,
    expected: 'not 0',
    broken: (h) =>
      !isSnapshot(h) &&
      tracked(h) &&
      h.preApplyChecksum === 0n &&
      'pre-apply checksum required on non-snapshot files',
  },
  {
    field: 'preApplyChecksum',
    offset: 40,
    expected: 'bit 63 set',
    broken: (h) =>
      !isSnapshot(h) &&
      tracked(h) &&
      (h.preApplyChecksum & CHECKSUM_FLAG) === 0n &&
      'invalid pre-apply checksum format',
  },
  // What follows the reference leaves unchecked. The types of LtxHeader cannot hold such values exactly, and no
  // writer produces them.
  {
    field: 'commit',
    offset: 12,
    expected: '0 to 4294967295',
    broken: (h) => !unsigned(h.commit) && `invalid commit size: ${h.commit}`,
  },
  {
    field: 'timestampMs',
    offset: 32,
    expected: 'a date',
    broken: (h) =>
      !(Number.isInteger(h.timestampMs) && Math.abs(h.timestampMs) <= TIMESTAMP_MAX) &&
      `invalid timestamp: ${h.timestampMs}`,
  },
  {
    field: 'walOffset',
    offset: 48,
    expected: 'at most 2^53-1',
    broken: (h) => !Number.isSafeInteger(h.walOffset) && `invalid wal offset: ${h.walOffset}`,
  },
  {
    field: 'walSize',
    offset: 56,
    expected: 'at most 2^53-1',
    broken: (h) => !Number.isSafeInteger(h.walSize) && `invalid wal size: ${h.walSize}`,
  },
  {
    field: 'walSalt1',
    offset: 64,
    expected: '0 to 4294967295',
    broken: (h) => !unsigned(h.walSalt1) && `invalid wal salt: ${h.walSalt1}`,
  },
  {
    field: 'walSalt2',
    offset: 68,
    expected: '0 to 4294967295',
    broken: (h) => !unsigned(h.walSalt2) && `invalid wal salt: ${h.walSalt2}`,
  },
];

/**
 * Checks the rules of formats 2.3 in their order. Beyond them: the timestamp must be a date (±8.64e15 ms), WAL offset
 * and size safe integers, 32-bit fields in range.
 *
 * @throws LitestreamError `ERR_LTX_HEADER` with the reference's text.
 */
export function validateHeader(header: LtxHeader): void {
  for (const rule of RULES) {
    const text = rule.broken(header);
    if (text === false) continue;
    const { field, offset, expected } = rule;
    const value = header[field];
    const found = typeof value === 'bigint' ? formatTxid(value) : value;
    throw damaged(text, { field, offset, expected, found }, 'ERR_LTX_HEADER');
  }
}

/**
 * The 100 bytes of a header, validated before. Spec: formats 2.2.
 *
 * @throws LitestreamError `ERR_LTX_HEADER` as {@link validateHeader}; also for a checksum or node id of more than 64 bits.
 */
export function encodeHeader(header: LtxHeader): Uint8Array<ArrayBuffer> {
  validateHeader(header);
  for (const value of [header.preApplyChecksum, header.nodeId]) {
    if (BigInt.asUintN(64, value) !== value) {
      throw new LitestreamError('ERR_LTX_HEADER', `value exceeds 64 bits: ${value}`);
    }
  }
  const bytes = new Uint8Array(LTX_HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, header.flags);
  view.setUint32(8, header.pageSize);
  view.setUint32(12, header.commit);
  view.setBigUint64(16, header.minTxid);
  view.setBigUint64(24, header.maxTxid);
  view.setBigInt64(32, BigInt(header.timestampMs));
  view.setBigUint64(40, header.preApplyChecksum);
  view.setBigInt64(48, BigInt(header.walOffset));
  view.setBigInt64(56, BigInt(header.walSize));
  view.setUint32(64, header.walSalt1);
  view.setUint32(68, header.walSalt2);
  view.setBigUint64(72, header.nodeId);
  return bytes;
}

/**
 * Reads and validates the header at the start of `bytes`; later bytes are ignored. The 20 reserved bytes are not
 * looked at (they count for the file checksum only). Spec: formats 2.2, 2.3.
 *
 * @throws LitestreamError `ERR_LTX_CORRUPTED` if `bytes` is shorter than 100, `ERR_LTX_HEADER` for a wrong magic or a
 *   broken rule.
 */
export function decodeHeader(bytes: Uint8Array): LtxHeader {
  if (bytes.length < LTX_HEADER_SIZE) {
    throw damaged(bytes.length === 0 ? 'EOF' : 'unexpected EOF', {
      field: 'header',
      offset: 0,
      expected: `${LTX_HEADER_SIZE} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, RESERVED_AT);
  if (view.getUint32(0) !== MAGIC) {
    throw damaged(
      'unmarshal header: invalid LTX file',
      { field: 'magic', offset: 0, expected: hex(MAGIC, 8), found: hex(view.getUint32(0), 8) },
      'ERR_LTX_HEADER',
    );
  }
  const header: LtxHeader = {
    flags: view.getUint32(4),
    pageSize: view.getUint32(8),
    commit: view.getUint32(12),
    minTxid: toTxid(view.getBigUint64(16)),
    maxTxid: toTxid(view.getBigUint64(24)),
    timestampMs: Number(view.getBigInt64(32)),
    preApplyChecksum: view.getBigUint64(40),
    walOffset: Number(view.getBigInt64(48)),
    walSize: Number(view.getBigInt64(56)),
    walSalt1: view.getUint32(64),
    walSalt2: view.getUint32(68),
    nodeId: view.getBigUint64(72),
  };
  validateHeader(header);
  return header;
}
