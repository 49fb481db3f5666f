export { formatTxid, NO_TXID, parseTxid, toTxid, type Txid } from './txid.ts';
export { formatFileName, matchFileName, parseFileName } from './file-name.ts';
export {
  CHECKSUM_FLAG,
  decodeHeader,
  encodeHeader,
  isSnapshot,
  LTX_HEADER_SIZE,
  LTX_NO_CHECKSUM,
  LTX_TRAILER_SIZE,
  validateHeader,
  type LtxHeader,
} from './header.ts';
export {
  decodePageHeader,
  PAGE_FLAG_SIZE,
  PAGE_HEADER_SIZE,
  PAGE_SIZE_PREFIX,
  putPageHeader,
  type PageHeader,
} from './page-header.ts';
export { FrameTable, type FrameList } from './frame-table.ts';
export {
  decodePageIndex,
  encodePageIndex,
  INDEX_SIZE_SIZE,
  locatePageIndex,
  PageIndex,
  pageIndexLength,
  writePageIndex,
  type IndexLocation,
} from './page-index.ts';
export { decodeTrailer, encodeTrailer, validateTrailer, type LtxTrailer } from './trailer.ts';
export {
  EMPTY_CHECKSUM,
  formatPos,
  pageChecksum,
  parsePos,
  rollChecksum,
  type Pos,
} from './checksum.ts';
export { type LtxSummary } from './summary.ts';
export { LtxEncoder, missingPage, orderViolation, type LtxEncoderOptions } from './encoder.ts';
export { LtxDecoder, type LtxDecoderOptions, type PageFrame } from './decoder.ts';
export {
  decodeLtxFile,
  decodePageFrame,
  encodeLtxFile,
  verifyLtxFile,
  type LtxContent,
  type LtxFile,
  type LtxPage,
} from './file.ts';
export { putUvarint, UVARINT_MAX } from './varint.ts';
export { pageFrameParser } from './lz4-frame.ts';
export { TailReader } from './tail.ts';
export { damaged } from './damage.ts';
