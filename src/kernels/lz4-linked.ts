import { LitestreamError } from '../lib/errors.ts';

/** A walk over the sequences of a block. */
interface Cursor {
  at: number;
}

function malformed(text: string): LitestreamError {
  return new LitestreamError('ERR_LZ4', text);
}

/** The nibble plus the length bytes that follow if it is 15. */
function longLength(block: Uint8Array, cursor: Cursor, nibble: number): number {
  let length = nibble;
  if (nibble < 15) return length;
  for (;;) {
    const byte = block[cursor.at++];
    if (byte === undefined) throw malformed('length runs past the block');
    length += byte;
    if (byte !== 255) return length;
  }
}

/** Bytes that `block` decompresses to, or −1 if that is more than `limit`. Not all damage is noticed. */
export function lz4DecodedLength(block: Uint8Array, limit: number): number {
  const cursor = { at: 0 };
  let length = 0;
  while (cursor.at < block.length) {
    const token = block[cursor.at++]!;
    const literals = longLength(block, cursor, token >>> 4);
    cursor.at += literals;
    length += literals;
    if (cursor.at >= block.length) break;
    cursor.at += 2;
    length += longLength(block, cursor, token & 15) + 4;
    if (length > limit) return -1;
  }
  return length;
}

/** `size` bytes of `source` at `at`; a loop is faster for the few bytes that most sequences have. */
function copyLiterals(
  target: Uint8Array,
  to: number,
  source: Uint8Array,
  range: Cursor & { size: number },
): void {
  const { at, size } = range;
  if (size > 32) target.set(source.subarray(at, at + size), to);
  else for (let index = 0; index < size; index++) target[to + index] = source[at + index]!;
}

function copyMatch(target: Uint8Array, to: number, offset: number, length: number): void {
  if (length > 32 && offset >= length) {
    target.copyWithin(to, to - offset, to - offset + length);
  } else if (length > 32 && offset === 1) {
    target.fill(target[to - 1]!, to, to + length);
  } else {
    // Where the ranges overlap, the match repeats the bytes it has just written.
    for (let index = to; index < to + length; index++) target[index] = target[index - offset]!;
  }
}

/**
 * Decompresses a block of any size that may refer to what is in front of it: blocks of one frame share 64 KiB of history.
 * Slower than `lz4Decompress` for a page, and does not need to know how much comes out.
 *
 * @param start - where in `target` the output begins
 * @param floor - first byte of `target` that a match may refer to. Default 0.
 * @returns the end of the output
 * @throws LitestreamError `ERR_LZ4` for a malformed block or one that does not fit. Spec: formats 2.5.
 */
export function lz4DecompressLinked(
  block: Uint8Array,
  target: Uint8Array,
  start: number,
  floor: number = 0,
): number {
  const cursor = { at: 0, size: 0 };
  let to = start;
  for (;;) {
    const token = block[cursor.at++];
    if (token === undefined) throw malformed('block ends without literals');
    cursor.size = longLength(block, cursor, token >>> 4);
    if (cursor.size > block.length - cursor.at || cursor.size > target.length - to) {
      throw malformed('literals run past the block or its room');
    }
    copyLiterals(target, to, block, cursor);
    cursor.at += cursor.size;
    to += cursor.size;
    if (cursor.at === block.length) return to;
    const offset = (block[cursor.at] ?? 0) | ((block[cursor.at + 1] ?? 0) << 8);
    cursor.at += 2;
    const length = longLength(block, cursor, token & 15) + 4;
    if (offset === 0 || offset > to - floor || length > target.length - to) {
      throw malformed('match outside of the content');
    }
    copyMatch(target, to, offset, length);
    to += length;
  }
}
