export { Crc64, crc64, crc64Combine } from './crc64.ts';
export { lz4Bound, lz4Compress, lz4Decompress } from './lz4.ts';
export { xxh32 } from './xxh32.ts';
export {
  checksumPair,
  walChecksum,
  walChecksumBigEndian,
  walChecksumBytes,
  type ChecksumPair,
} from './wal-checksum.ts';

/** Which implementation runs behind these functions. */
export const kernelInfo: { readonly kind: 'wasm-simd' | 'wasm' | 'typescript' } = {
  kind: 'typescript',
};
