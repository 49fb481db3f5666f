import { LitestreamError } from '../../lib/errors.ts';
import { formatTxid, toTxid, type Txid } from './txid.ts';

const NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;

/** `<min>-<max>.ltx`. Spec: formats 2.14. */
export function formatFileName(minTxid: bigint, maxTxid: bigint): string {
  return `${formatTxid(minTxid)}-${formatTxid(maxTxid)}.ltx`;
}

/** The TXIDs of a well-formed LTX file name (lower case only), or undefined for any other name. */
export function matchFileName(name: string): { minTxid: Txid; maxTxid: Txid } | undefined {
  const found = NAME.exec(name);
  if (found === null) return undefined;
  return { minTxid: toTxid(BigInt(`0x${found[1]}`)), maxTxid: toTxid(BigInt(`0x${found[2]}`)) };
}

/** @throws LitestreamError `ERR_LTX_NAME` with the reference's text. */
export function parseFileName(name: string): { minTxid: Txid; maxTxid: Txid } {
  const found = matchFileName(name);
  if (found === undefined) {
    throw new LitestreamError('ERR_LTX_NAME', `invalid ltx filename: ${name}`);
  }
  return found;
}
