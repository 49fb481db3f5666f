export { Crc64, crc64Combine } from './crc64.ts';
export { createKernel, kernelKind } from './create-kernel.ts';
export { crc64, kernelInfo, lz4Compress, lz4Decompress } from './functions.ts';
export {
  newDecodeJob,
  newEncodeJob,
  type DecodeJob,
  type DecodeStatus,
  type EncodeJob,
  type Kernel,
  type KernelKind,
  type KernelOptions,
} from './kernel.ts';
export { lz4Bound } from './lz4.ts';
export {
  checksumPair,
  walChecksum,
  walChecksumBigEndian,
  walChecksumBytes,
  type ChecksumPair,
} from './wal-checksum.ts';
export { xxh32 } from './xxh32.ts';
