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
export { giveKernel, takeKernel } from './kernel-pool.ts';
export {
  lz4FrameParser,
  type Lz4FrameContent,
  type Lz4FrameDamage,
  type Parser,
} from './lz4-frame.ts';
export { encodeLz4Frame, type Lz4FrameOptions } from './lz4-frame-encoder.ts';
export { lz4DecodedLength, lz4DecompressLinked } from './lz4-linked.ts';
export { lz4Bound } from './lz4.ts';
export {
  checksumPair,
  walChecksum,
  walChecksumBigEndian,
  walChecksumBytes,
  type ChecksumPair,
} from './wal-checksum.ts';
export { Xxh32, xxh32 } from './xxh32.ts';
