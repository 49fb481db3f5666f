export { formatTxid, NO_TXID, parseTxid, toTxid, type Txid } from './txid.ts';
export { formatFileName, matchFileName, parseFileName } from './file-name.ts';
