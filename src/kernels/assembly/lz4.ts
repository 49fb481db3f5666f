// LZ4 block codec. Spec: performance 5, formats 2.5.

import { HASH_TABLE } from "../layout";

/**
 * The table of 16-bit positions is cleared for every block: small for small pages, and larger only where that gives
 * shorter blocks. At 4 KiB, 12 bits are within 0.2 % of liblz4 and stay in the first-level cache.
 */
// @ts-ignore: decorator
@inline
function hashBits(size: usize): u32 {
  return size <= 1024 ? 10 : size <= 8192 ? 12 : 13;
}

/** Offset in the table. */
// @ts-ignore: decorator
@inline
function slot(word: u32, shift: u32): usize {
  return <usize>((word * 0x9e3779b1) >> shift) << 1;
}

/** Copies in steps of 16 bytes; writes and reads up to 15 bytes too far. */
// @ts-ignore: decorator
@inline
function wildCopy(to: usize, from: usize, length: usize): void {
  if (length > 256) {
    memory.copy(to, from, length);
    return;
  }
  const end = to + length;
  do {
    const a = load<u64>(from);
    const b = load<u64>(from, 8);
    store<u64>(to, a);
    store<u64>(to, b, 8);
    to += 16;
    from += 16;
  } while (to < end);
}

// @ts-ignore: decorator
@inline
function writeLength(to: usize, rest: usize): usize {
  for (; rest >= 255; rest -= 255) store<u8>(to++, 255);
  store<u8>(to++, <u8>rest);
  return to;
}

/** First address from `at` on where the bytes differ from those at `match`, at most `end`. */
// @ts-ignore: decorator
@inline
function matchEnd(at: usize, match: usize, end: usize): usize {
  while (at + 8 <= end) {
    const difference = load<u64>(at) ^ load<u64>(match);
    if (difference != 0) return at + <usize>(ctz(difference) >> 3);
    at += 8;
    match += 8;
  }
  while (at < end && load<u8>(at) == load<u8>(match)) {
    at++;
    match++;
  }
  return at;
}

/** Compresses up to 65536 bytes into one block; returns its size. */
export function lz4Compress(source: usize, size: usize, target: usize): usize {
  const end = source + size;
  let to = target;
  let anchor = source;
  if (size > 13) {
    const limit = end - 13;
    const literalsFrom = end - 5;
    let at = source + 1;
    const bits = hashBits(size);
    const shift = 32 - bits;
    memory.fill(HASH_TABLE, 0, <usize>2 << bits);
    while (at <= limit) {
      let word = load<u32>(at);
      let entry = slot(word, shift);
      let match = source + <usize>load<u16>(entry, HASH_TABLE);
      store<u16>(entry, <u16>(at - source), HASH_TABLE);
      if (load<u32>(match) != word) {
        // Search: the hash of the next position is ready before this one is compared, which saves a quarter of the time
        // against the plain loop. It reads up to 60 bytes past the end, no further than the slack.
        let misses: usize = 64;
        let next = at + 1;
        word = load<u32>(next);
        entry = slot(word, shift);
        do {
          at = next;
          if (at > limit) break;
          const current = word;
          const place = entry;
          next += misses++ >> 6;
          word = load<u32>(next);
          entry = slot(word, shift);
          match = source + <usize>load<u16>(place, HASH_TABLE);
          store<u16>(place, <u16>(at - source), HASH_TABLE);
          if (load<u32>(match) == current) break;
        } while (true);
        if (at > limit) break;
      }
      while (at > anchor && match > source && load<u8>(at - 1) == load<u8>(match - 1)) {
        at--;
        match--;
      }
      const literals = at - anchor;
      const token = to++;
      let code: u32;
      if (literals < 15) {
        code = <u32>literals << 4;
        store<u64>(to, load<u64>(anchor));
        store<u64>(to, load<u64>(anchor, 8), 8);
      } else {
        code = 0xf0;
        to = writeLength(to, literals - 15);
        wildCopy(to, anchor, literals);
      }
      to += literals;
      store<u16>(to, <u16>(at - match));
      to += 2;
      anchor = matchEnd(at + 4, match + 4, literalsFrom);
      const extra = anchor - at - 4;
      if (extra < 15) {
        store<u8>(token, <u8>(code | <u32>extra));
      } else {
        store<u8>(token, <u8>(code | 15));
        to = writeLength(to, extra - 15);
      }
      at = anchor;
      if (at <= limit) store<u16>(slot(load<u32>(at - 2), shift), <u16>(at - 2 - source), HASH_TABLE);
    }
  }
  const literals = end - anchor;
  if (literals < 15) {
    store<u8>(to++, <u8>(literals << 4));
  } else {
    store<u8>(to++, 0xf0);
    to = writeLength(to, literals - 15);
  }
  memory.copy(to, anchor, literals);
  return to + literals - target;
}

/** Copies a match of any length and offset; writes up to 16 bytes too far. */
// @ts-ignore: decorator
@inline
function copyMatch(to: usize, offset: usize, length: usize): void {
  let from = to - offset;
  const end = to + length;
  if (offset >= 16) {
    do {
      const a = load<u64>(from);
      const b = load<u64>(from, 8);
      store<u64>(to, a);
      store<u64>(to, b, 8);
      to += 16;
      from += 16;
    } while (to < end);
  } else if (offset >= 8) {
    do {
      store<u64>(to, load<u64>(from));
      to += 8;
      from += 8;
    } while (to < end);
  } else {
    // A pattern of 1 to 7 bytes: repeat it through one word, then advance by a multiple of its length.
    const bits = <u64>offset << 3;
    let pattern = load<u64>(from) & ((<u64>1 << bits) - 1);
    pattern |= pattern << bits;
    if (offset < 4) pattern |= pattern << (bits << 1);
    if (offset < 2) pattern |= pattern << 32;
    const advance: usize = 8 - <usize>(8 % <u32>offset);
    do {
      store<u64>(to, pattern);
      to += advance;
    } while (to < end);
  }
}

/**
 * Decompresses one block. False if it is malformed or does not give exactly `targetSize` bytes.
 *
 * Every length and offset is checked against the real ends before anything is copied; the copies themselves may run up to
 * 32 bytes over the end of the target, so pages must be decoded in ascending order.
 */
export function lz4Decompress(source: usize, sourceSize: usize, target: usize, targetSize: usize): bool {
  const sourceEnd = source + sourceSize;
  const targetEnd = target + targetSize;
  let to = target;
  while (source < sourceEnd) {
    const token = <u32>load<u8>(source++);
    let literals = <usize>(token >> 4);
    if (literals < 15) {
      if (literals > sourceEnd - source || literals > targetEnd - to) return false;
      store<u64>(to, load<u64>(source));
      store<u64>(to, load<u64>(source, 8), 8);
    } else {
      let more: u32;
      do {
        if (source >= sourceEnd) return false;
        more = load<u8>(source++);
        literals += more;
      } while (more == 255);
      if (literals > sourceEnd - source || literals > targetEnd - to) return false;
      wildCopy(to, source, literals);
    }
    source += literals;
    to += literals;
    if (source == sourceEnd) return to == targetEnd;

    if (sourceEnd - source < 2) return false;
    const offset = <usize>load<u16>(source);
    source += 2;
    if (offset == 0 || offset > to - target) return false;
    let length = <usize>(token & 15) + 4;
    if (length < 19) {
      if (length > targetEnd - to) return false;
      if (offset >= 16) {
        // 18 bytes at most: two words and a half, without a loop.
        const from = to - offset;
        store<u64>(to, load<u64>(from));
        store<u64>(to, load<u64>(from, 8), 8);
        store<u32>(to, load<u32>(from, 16), 16);
        to += length;
        continue;
      }
    } else {
      let more: u32;
      do {
        if (source >= sourceEnd) return false;
        more = load<u8>(source++);
        length += more;
      } while (more == 255);
      if (length > targetEnd - to) return false;
    }
    copyMatch(to, offset, length);
    to += length;
  }
  return false;
}
