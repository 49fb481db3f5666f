import { LitestreamError, type ErrorCode } from '../../lib/errors.ts';
import { EMPTY_CHECKSUM, formatChecksum } from './checksum.ts';
import { damaged } from './damage.ts';
import { CHECKSUM_FLAG, LTX_NO_CHECKSUM, LTX_TRAILER_SIZE, type LtxHeader } from './header.ts';
import { readU64 } from './page-header.ts';

/** The last 16 bytes of a file. Spec: formats 2.9. */
export interface LtxTrailer {
  /** Rolling database checksum after applying; 0 if not tracked. */
  readonly postApplyChecksum: bigint;
  /** Bit 63 and the CRC-64 of the file as decoded. Spec: formats 2.11. */
  readonly fileChecksum: bigint;
}

/** The 16 bytes of a trailer. Nothing is checked: see {@link validateTrailer}. */
export function encodeTrailer(trailer: LtxTrailer): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(LTX_TRAILER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, trailer.postApplyChecksum);
  view.setBigUint64(8, trailer.fileChecksum);
  return bytes;
}

/** @throws LitestreamError `ERR_LTX_CORRUPTED` if `bytes` is shorter than 16; later bytes are ignored. */
export function decodeTrailer(bytes: Uint8Array): LtxTrailer {
  if (bytes.length < LTX_TRAILER_SIZE) {
    throw damaged(bytes.length === 0 ? 'EOF' : 'unexpected EOF', {
      field: 'trailer',
      offset: 0,
      expected: `${LTX_TRAILER_SIZE} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  return { postApplyChecksum: readU64(bytes, 0), fileChecksum: readU64(bytes, 8) };
}

/** The reference's text for the first broken rule of formats 2.9, or undefined. */
function brokenRule(header: LtxHeader, trailer: LtxTrailer): string | undefined {
  const { postApplyChecksum: post, fileChecksum } = trailer;
  if ((header.flags & LTX_NO_CHECKSUM) !== 0) {
    if (post !== 0n) return 'post-apply checksum not allowed';
  } else {
    if (post === 0n) return 'post-apply checksum required';
    if ((post & CHECKSUM_FLAG) === 0n) return 'invalid post-apply checksum format';
  }
  if (fileChecksum === 0n) return 'file checksum required';
  if ((fileChecksum & CHECKSUM_FLAG) === 0n) return 'invalid file checksum format';
  return undefined;
}

/**
 * Checks the rules of formats 2.9, and that a database without pages has the empty checksum where checksums are
 * tracked.
 *
 * @param at - offset of the trailer in the file, for the error
 * @param code - what to throw
 * @throws LitestreamError with the reference's text
 */
export function validateTrailer(
  header: LtxHeader,
  trailer: LtxTrailer,
  at: number,
  code: ErrorCode,
): void {
  const text = brokenRule(header, trailer);
  if (text !== undefined) {
    const isFile = text.includes('file checksum');
    const found = isFile ? trailer.fileChecksum : trailer.postApplyChecksum;
    throw damaged(
      `validate trailer: ${text}`,
      {
        field: isFile ? 'file checksum' : 'post-apply checksum',
        offset: isFile ? at + 8 : at,
        expected: (header.flags & LTX_NO_CHECKSUM) !== 0 && !isFile ? '0' : 'bit 63 set',
        found: formatChecksum(found),
      },
      code,
    );
  }
  const tracked = (header.flags & LTX_NO_CHECKSUM) === 0;
  if (tracked && header.commit === 0 && trailer.postApplyChecksum !== EMPTY_CHECKSUM) {
    throw new LitestreamError(
      code,
      'post-apply checksum must be empty for zero-length database ' +
        `(post-apply checksum at byte ${at}: expected ${formatChecksum(EMPTY_CHECKSUM)}, ` +
        `found ${formatChecksum(trailer.postApplyChecksum)})`,
    );
  }
}
