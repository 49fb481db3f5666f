import { assert } from '../lib/assert.ts';
import { LitestreamError } from '../lib/errors.ts';

/**
 * LZ4 block codec without WebAssembly. Spec: formats 2.5.
 */

const MIN_MATCH = 4;
/** No match starts within the last 12 bytes. */
const MATCH_START_LIMIT = 12;
/** The last 5 bytes are literals. */
const LAST_LITERALS = 5;
const HASH_BITS = 12;

/** Largest possible block for `size` input bytes: `size + floor(size / 255) + 16`. */
export function lz4Bound(size: number): number {
  return size + Math.floor(size / 255) + 16;
}

/**
 * Position of the last occurrence per hash, modulo 65536: matches reach no further back, and a candidate is compared
 * before it is used, so a wrong guess costs time only.
 */
const table = new Uint16Array(1 << HASH_BITS);

function read32(view: DataView, at: number): number {
  return view.getInt32(at, true);
}

function hash(word: number): number {
  return Math.imul(word, 0x9e37_79b1) >>> (32 - HASH_BITS);
}

/** Where a length nibble overflows: bytes of 255 and a rest. */
function writeLength(target: Uint8Array, at: number, length: number): number {
  let to = at;
  let rest = length;
  for (; rest >= 255; rest -= 255) target[to++] = 255;
  target[to++] = rest;
  return to;
}

/** Token, long literal length and literals. The match nibble is filled in by the caller. */
function writeLiterals(target: Uint8Array, at: number, literals: Uint8Array): number {
  const { length } = literals;
  let to = at + 1;
  target[at] = Math.min(length, 15) << 4;
  if (length >= 15) to = writeLength(target, to, length - 15);
  target.set(literals, to);
  return to + length;
}

/** Bytes that agree at `left` and `right`, comparing `right` up to `end`. */
function matchLength(source: Uint8Array, left: number, right: number, end: number): number {
  let length = 0;
  while (right + length < end && source[left + length] === source[right + length]) length++;
  return length;
}

/** The match candidate for the four bytes at `at`, or −1. Remembers `at`. */
function lookUp(view: DataView, at: number): number {
  const word = read32(view, at);
  const slot = hash(word);
  const distance = (at - (table[slot] ?? 0)) & 0xffff;
  table[slot] = at;
  const candidate = at - distance;
  if (distance === 0 || candidate < 0) return -1;
  return read32(view, candidate) === word ? candidate : -1;
}

/**
 * Compresses `source` into one LZ4 block at the start of `target`.
 *
 * @returns bytes written. Incompressible input becomes a literal-only block, never larger than {@link lz4Bound}.
 * @throws LitestreamError `ERR_ASSERTION` if `target` is shorter than `lz4Bound(source.length)`.
 *
 * Two implementations of one input may differ in their bytes; every valid decoder returns the input.
 */
export function lz4Compress(source: Uint8Array, target: Uint8Array): number {
  const size = source.length;
  assert(target.length >= lz4Bound(size), 'LZ4 target holds the worst case');
  const view = new DataView(source.buffer, source.byteOffset, size);
  const matchLimit = size - LAST_LITERALS;
  let anchor = 0;
  let to = 0;
  let at = 1;
  let misses = 1 << 6;
  table.fill(0);
  while (at <= size - MATCH_START_LIMIT - 1) {
    const found = lookUp(view, at);
    if (found < 0) {
      at += misses++ >>> 6;
      continue;
    }
    let candidate = found;
    while (at > anchor && candidate > 0 && source[at - 1] === source[candidate - 1]) {
      at--;
      candidate--;
    }
    const token = to;
    to = writeLiterals(target, to, source.subarray(anchor, at));
    const distance = at - candidate;
    target[to++] = distance & 255;
    target[to++] = distance >>> 8;
    const extra = matchLength(source, candidate + MIN_MATCH, at + MIN_MATCH, matchLimit) | 0;
    target[token] = (target[token] ?? 0) | Math.min(extra, 15);
    if (extra >= 15) to = writeLength(target, to, extra - 15);
    at += MIN_MATCH + extra;
    anchor = at;
    misses = 1 << 6;
    if (at <= size - MATCH_START_LIMIT - 1) table[hash(read32(view, at - 2))] = at - 2;
  }
  return writeLiterals(target, to, source.subarray(anchor));
}

function damaged(field: string, offset: number, expected: string, found: unknown): LitestreamError {
  return new LitestreamError(
    'ERR_LZ4',
    `invalid LZ4 block at offset ${offset}: ${field}: expected ${expected}, found ${String(found)}`,
    { details: { field, offset, expected, found } },
  );
}

/** Next input byte of the block being decoded; `cursor` is shared by the helpers below. */
let cursor = 0;

function readLength(source: Uint8Array, nibble: number, field: string): number {
  if (nibble < 15) return nibble;
  let length = nibble;
  for (;;) {
    const byte = source[cursor];
    if (byte === undefined) throw damaged(field, cursor, 'another length byte', 'end of block');
    cursor++;
    length += byte;
    if (byte !== 255) return length;
  }
}

function readOffset(source: Uint8Array, produced: number): number {
  if (source.length - cursor < 2) {
    throw damaged('match offset', cursor, '2 bytes', `${source.length - cursor} bytes`);
  }
  const offset = (source[cursor] ?? 0) | ((source[cursor + 1] ?? 0) << 8);
  if (offset === 0 || offset > produced) {
    throw damaged('match offset', cursor, `1 to ${produced}`, offset);
  }
  cursor += 2;
  return offset;
}

function copyMatch(target: Uint8Array, to: number, offset: number, length: number): void {
  if (offset >= length) {
    target.copyWithin(to, to - offset, to - offset + length);
  } else if (offset === 1) {
    target.fill(target[to - 1] ?? 0, to, to + length);
  } else {
    // The ranges overlap: the match repeats the bytes it has just written.
    for (let index = to; index < to + length; index++) target[index] = target[index - offset] ?? 0;
  }
}

/**
 * Decompresses one LZ4 block. `target` must be exactly as long as the uncompressed data.
 *
 * @throws LitestreamError `ERR_LZ4` (details: field, offset in the block, expected, found) for anything malformed: a match
 * offset of 0 or before the start of the output, a length past the end of input or output, a block that does not end in
 * literals, or one whose result is shorter than `target`. `target` holds undefined bytes then.
 */
export function lz4Decompress(source: Uint8Array, target: Uint8Array): void {
  let to = 0;
  cursor = 0;
  for (;;) {
    const token = source[cursor];
    if (token === undefined)
      throw damaged('token', cursor, 'a closing literal run', 'end of block');
    cursor++;
    const literals = readLength(source, token >>> 4, 'literal length');
    if (literals > source.length - cursor) {
      throw damaged('literals', cursor, `at most ${source.length - cursor} bytes`, literals);
    }
    if (literals > target.length - to) {
      throw damaged('output', cursor, `at most ${target.length - to} more bytes`, literals);
    }
    target.set(source.subarray(cursor, cursor + literals), to);
    cursor += literals;
    to += literals;
    if (cursor === source.length) break;
    const offset = readOffset(source, to);
    const length = readLength(source, token & 15, 'match length') + MIN_MATCH;
    if (length > target.length - to) {
      throw damaged('output', cursor, `at most ${target.length - to} more bytes`, length);
    }
    copyMatch(target, to, offset, length);
    to += length;
  }
  if (to !== target.length) throw damaged('output', cursor, `${target.length} bytes`, to);
}
