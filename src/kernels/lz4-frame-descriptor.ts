import { xxh32 } from './xxh32.ts';

/** First four bytes of an LZ4 frame, little-endian. Spec: formats 2.6. */
export const LZ4_FRAME_MAGIC = 0x184d2204;
/** Version 01, independent blocks, content checksum; 64 KiB blocks. What Litestream v0.5.0 – v0.5.15 wrote. */
export const FLG = 0x64;
export const BD = 0x40;

export const FLG_VERSION = 0xc0;
export const FLG_VERSION_1 = 0x40;
export const FLG_INDEPENDENT = 0x20;
export const FLG_BLOCK_CHECKSUM = 0x10;
export const FLG_CONTENT_SIZE = 0x08;
export const FLG_CONTENT_CHECKSUM = 0x04;
export const FLG_RESERVED = 0x02;
export const FLG_DICTIONARY = 0x01;
export const BD_RESERVED = 0x8f;
/** Block size code of 64 KiB; 5, 6, 7 are 256 KiB, 1 MiB, 4 MiB. */
export const SMALLEST_BLOCK_CODE = 4;
/** Set in a block size whose block is not compressed. */
export const STORED = 0x8000_0000;

/** Second byte of the XXH32 of the descriptor. */
export function descriptorChecksum(descriptor: Uint8Array): number {
  return (xxh32(descriptor) >>> 8) & 0xff;
}
