export {
  checksumPair,
  createKernel,
  kernelInfo,
  lz4Bound,
  newDecodeJob,
  newEncodeJob,
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
export { giveKernel, takeKernel } from './kernel-pool.ts';
export {
  LtxFileWriter,
  writerArenaBytes,
  type LtxFileWriterOptions,
  type WrittenLtxFile,
} from './ltx-file-writer.ts';
