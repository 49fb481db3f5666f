import { assert } from '../lib/assert.ts';

/**
 * SQLite's cumulative WAL checksum: `[s0, s1]`, updated in place. Read it back unsigned (`pair[0] >>> 0`), or view the
 * same buffer as `Uint32Array`.
 */
export type ChecksumPair = Int32Array;

/** A pair at the start value (0, 0), or continuing from a stored one. */
export function checksumPair(s0 = 0, s1 = 0): ChecksumPair {
  return Int32Array.of(s0, s1);
}

/**
 * Adds `words[from … to)` read as little-endian words (WAL magic `377f0682`).
 *
 * @param from - index of the first word; `to - from` must be even.
 * @param words - a view of the frames' memory; frames are 8-byte aligned if the WAL's offset 0 (or 32) is.
 *
 * Spec: formats 6.3. Plain JavaScript: the sum is limited by its dependency chain and WebAssembly gains nothing.
 */
export function walChecksum(words: Int32Array, from: number, to: number, pair: ChecksumPair): void {
  assert(((to - from) & 1) === 0 && to <= words.length, 'checksummed words come in pairs');
  let s0 = pair[0] ?? 0;
  let s1 = pair[1] ?? 0;
  let at = from;
  // `?? 0` costs nothing here: the engine proves the reads are in bounds.
  for (; at + 8 <= to; at += 8) {
    s0 = (s0 + (words[at] ?? 0) + s1) | 0;
    s1 = (s1 + (words[at + 1] ?? 0) + s0) | 0;
    s0 = (s0 + (words[at + 2] ?? 0) + s1) | 0;
    s1 = (s1 + (words[at + 3] ?? 0) + s0) | 0;
    s0 = (s0 + (words[at + 4] ?? 0) + s1) | 0;
    s1 = (s1 + (words[at + 5] ?? 0) + s0) | 0;
    s0 = (s0 + (words[at + 6] ?? 0) + s1) | 0;
    s1 = (s1 + (words[at + 7] ?? 0) + s0) | 0;
  }
  for (; at < to; at += 2) {
    s0 = (s0 + (words[at] ?? 0) + s1) | 0;
    s1 = (s1 + (words[at + 1] ?? 0) + s0) | 0;
  }
  pair[0] = s0;
  pair[1] = s1;
}

function swap(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24) | 0;
}

/** {@link walChecksum} for big-endian words (WAL magic `377f0683`). */
export function walChecksumBigEndian(
  words: Int32Array,
  from: number,
  to: number,
  pair: ChecksumPair,
): void {
  assert(((to - from) & 1) === 0 && to <= words.length, 'checksummed words come in pairs');
  let s0 = pair[0] ?? 0;
  let s1 = pair[1] ?? 0;
  for (let at = from; at < to; at += 2) {
    s0 = (s0 + swap(words[at] ?? 0) + s1) | 0;
    s1 = (s1 + swap(words[at + 1] ?? 0) + s0) | 0;
  }
  pair[0] = s0;
  pair[1] = s1;
}

/**
 * The same over bytes at any alignment; for headers and single pages. `bytes.length` must be a multiple of 8.
 *
 * @param bigEndian - true for WAL magic `377f0683`.
 */
export function walChecksumBytes(bytes: Uint8Array, bigEndian: boolean, pair: ChecksumPair): void {
  assert((bytes.length & 7) === 0, 'checksummed length is a multiple of 8');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let s0 = pair[0] ?? 0;
  let s1 = pair[1] ?? 0;
  for (let at = 0; at < bytes.length; at += 8) {
    s0 = (s0 + view.getInt32(at, !bigEndian) + s1) | 0;
    s1 = (s1 + view.getInt32(at + 4, !bigEndian) + s0) | 0;
  }
  pair[0] = s0;
  pair[1] = s1;
}
