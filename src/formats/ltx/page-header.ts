import { damaged, hex } from './damage.ts';

/** Bytes of a page header (page number and flags). */
export const PAGE_HEADER_SIZE = 6;
/** Bytes of the payload size that follows a page header with {@link PAGE_FLAG_SIZE}. */
export const PAGE_SIZE_PREFIX = 4;
/** Page flag: a payload size follows and the payload is a bare LZ4 block. */
export const PAGE_FLAG_SIZE = 0x1;

/** Spec: formats 2.4. All zero is the end marker. */
export interface PageHeader {
  readonly pgno: number;
  readonly flags: number;
}

/** Writes the 6 bytes of a page header at `at`. */
export function putPageHeader(target: Uint8Array, at: number, pgno: number, flags: number): void {
  target[at] = pgno >>> 24;
  target[at + 1] = pgno >>> 16;
  target[at + 2] = pgno >>> 8;
  target[at + 3] = pgno;
  target[at + 4] = flags >>> 8;
  target[at + 5] = flags;
}

/**
 * Reads the page header at the start of `bytes` (at least 6). Undefined: the end marker.
 *
 * @param offset where the header lies in the file, for the error
 * @param prefix put before the reference's text
 * @throws LitestreamError `ERR_LTX_CORRUPTED`
 */
export function decodePageHeader(
  bytes: Uint8Array,
  offset: number,
  prefix = '',
): PageHeader | undefined {
  const pgno = readU32(bytes, 0);
  const flags = (bytes[4]! << 8) | bytes[5]!;
  if (pgno === 0) {
    if (flags === 0) return undefined;
    throw damaged(`${prefix}page number required`, {
      field: 'page number',
      offset,
      expected: 'at least 1',
      found: 0,
    });
  }
  if ((flags & ~PAGE_FLAG_SIZE) !== 0) {
    throw damaged(`${prefix}invalid page header flags: ${hex(flags, 4)}`, {
      field: 'page flags',
      offset: offset + 4,
      expected: '0 or 1',
      found: hex(flags, 4),
    });
  }
  return { pgno, flags };
}

/** u32be at `at`. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  );
}

/** u64be at `at`, as a bigint. */
export function readU64(bytes: Uint8Array, at: number): bigint {
  return (BigInt(readU32(bytes, at)) << 32n) | BigInt(readU32(bytes, at + 4));
}
