import { LitestreamError } from '../../lib/errors.ts';

declare const txidBrand: unique symbol;

/** Litestream's transaction number: an unsigned 64-bit integer, 1-based; 0 means "none". */
export type Txid = bigint & { readonly [txidBrand]: true };

const TXID_MAX = 0xffff_ffff_ffff_ffffn;

/** @throws LitestreamError `ERR_TXID` outside 0 … 2^64−1. */
export function toTxid(value: bigint | number): Txid {
  const big = BigInt(value);
  if (big < 0n || big > TXID_MAX) {
    throw new LitestreamError('ERR_TXID', `transaction id out of range: ${big}`);
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one constructor of the brand
  return big as Txid;
}

export const NO_TXID: Txid = toTxid(0n);

/** 16 lower-case hex digits. Spec: formats 2.14. */
export function formatTxid(txid: bigint): string {
  return txid.toString(16).padStart(16, '0');
}

/**
 * Parses the 16-digit hex form (either case).
 *
 * @throws LitestreamError `ERR_TXID` with the reference's texts.
 */
export function parseTxid(text: string): Txid {
  if (text.length !== 16) {
    throw new LitestreamError('ERR_TXID', `invalid formatted transaction id length: "${text}"`);
  }
  if (!/^[0-9a-fA-F]{16}$/.test(text)) {
    throw new LitestreamError('ERR_TXID', `invalid transaction id format: "${text}"`);
  }
  return toTxid(BigInt(`0x${text}`));
}
