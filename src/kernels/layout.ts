/**
 * Memory layout of a kernel, shared by the AssemblyScript sources and the TypeScript around them. Only integer literals:
 * AssemblyScript reads `number` as a 64-bit float.
 *
 * ```text
 *        0  results of batch calls (16 words)
 *       64  byte table of the CRC, upper 16 bits of each entry (512 bytes)
 *      576  x^(8·2^k) modulo the CRC polynomial, k = 0 … 52
 *     1024  scratch of the CRC reduction (2 KiB)
 *     3072  scratch for headers that are hashed
 *     4096  LZ4 hash table (16 KiB)
 *    20480  table that appends a frame to a CRC (16 KiB), and for which length it is
 *    36928  CRC streams, STREAM_BYTES each
 *     base  the caller's bytes, up to limit
 *    limit  SLACK bytes that nobody owns
 * ```
 */
export const RESULTS = 0;
export const CRC_TABLE = 64;
export const CRC_POWERS = 576;
export const CRC_SCRATCH = 1024;
export const HEADER_SCRATCH = 3072;
export const HASH_TABLE = 4096;
export const APPEND_TABLE = 20480;
export const APPEND_LENGTH = 36864;
export const STREAMS = 36928;
export const STREAM_BYTES = 2176;

/** Copies in the kernel move whole 8- or 16-byte words; they read and write up to this many bytes past the end. */
export const SLACK = 64;

/** Why a decoding run ended. */
export const DECODE_FULL = 0;
export const DECODE_INCOMPLETE = 1;
export const DECODE_END = 2;
export const DECODE_LEGACY = 3;
export const DECODE_BAD_HEADER = 4;
export const DECODE_BAD_SIZE = 5;
export const DECODE_BAD_BLOCK = 6;
