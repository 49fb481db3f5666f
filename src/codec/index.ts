export {
  checksumPair,
  createKernel,
  giveKernel,
  kernelInfo,
  lz4Bound,
  newDecodeJob,
  newEncodeJob,
  takeKernel,
  walChecksum,
  walChecksumBigEndian,
  walChecksumBytes,
  type ChecksumPair,
  type DecodeJob,
  type DecodeStatus,
  type EncodeJob,
  type Kernel,
  type KernelKind,
} from '../kernels/index.ts';
export { LtxFileWriter, writerArenaBytes, writerBytes } from './ltx-file-writer.ts';
export type { LtxFileWriterOptions, WrittenLtxFile } from './ltx-writer-types.ts';
export { LtxFileReader, type LtxFileReaderOptions } from './ltx-file-reader.ts';
export {
  frameReaderBytes,
  READER_PAGE_BYTES,
  READER_WINDOW_BYTES,
  readerBytes,
  type FrameRuns,
} from './reader-memory.ts';
export { encodeAlone } from './encode-alone.ts';
export { EncodePool, type EncodePoolOptions } from './encode-pool.ts';
export type { EncodeTurns, PageSource } from './page-source.ts';
