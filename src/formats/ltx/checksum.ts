import { Crc64 } from '../../kernels/index.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { CHECKSUM_FLAG } from './header.ts';
import { putPageHeader } from './page-header.ts';
import { formatTxid, parseTxid, type Txid } from './txid.ts';

/** Rolling checksum of a database without pages. Spec: formats 2.12. */
export const EMPTY_CHECKSUM: bigint = CHECKSUM_FLAG;

/** Checksum of one page: bit 63 and the CRC-64 of its number and data. Spec: formats 2.12. */
export function pageChecksum(pgno: number, data: Uint8Array): bigint {
  const number = new Uint8Array(6);
  putPageHeader(number, 0, pgno, 0);
  return CHECKSUM_FLAG | new Crc64().update(number.subarray(0, 4)).update(data).digest();
}

/**
 * The rolling database checksum after `pages` (page checksums) were added or removed; adding and removing are the same
 * operation. Start from {@link EMPTY_CHECKSUM}; leave the lock page out. Spec: formats 2.12.
 */
export function rollChecksum(checksum: bigint, ...pages: readonly bigint[]): bigint {
  let rolled = checksum;
  for (const page of pages) rolled ^= page;
  return CHECKSUM_FLAG | rolled;
}

/** A point in the history of a database. */
export interface Pos {
  readonly txid: Txid;
  /** Rolling database checksum; 0 if not tracked. */
  readonly postApplyChecksum: bigint;
}

/** 16 lower-case hex digits. Spec: formats 2.14. */
export function formatChecksum(checksum: bigint): string {
  return checksum.toString(16).padStart(16, '0');
}

/** @throws LitestreamError `ERR_LTX_CORRUPTED` with the reference's texts. Spec: formats 2.14. */
export function parseChecksum(text: string): bigint {
  if (text.length !== 16) {
    throw new LitestreamError('ERR_LTX_CORRUPTED', `invalid formatted checksum length: "${text}"`);
  }
  if (!/^[0-9a-fA-F]{16}$/.test(text)) {
    throw new LitestreamError('ERR_LTX_CORRUPTED', `invalid checksum format: "${text}"`);
  }
  return BigInt(`0x${text}`);
}

/** `<txid>/<checksum>`, 33 characters. Spec: formats 2.14. */
export function formatPos(pos: Pos): string {
  return `${formatTxid(pos.txid)}/${formatChecksum(pos.postApplyChecksum)}`;
}

/**
 * Parses {@link formatPos}. As in the reference the separator may be any character. Spec: formats 2.14.
 *
 * @throws LitestreamError `ERR_LTX_CORRUPTED` for the length or the checksum, `ERR_TXID` for the transaction id.
 */
export function parsePos(text: string): Pos {
  if (text.length !== 33) {
    throw new LitestreamError('ERR_LTX_CORRUPTED', `invalid formatted position length: "${text}"`);
  }
  return {
    txid: parseTxid(text.slice(0, 16)),
    postApplyChecksum: parseChecksum(text.slice(17)),
  };
}
