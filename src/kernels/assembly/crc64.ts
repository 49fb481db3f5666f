// CRC-64/GO-ISO without tables. Spec: performance 4.1, formats 2.10.
//
// Bit-reflected: bit 63 of a register is the coefficient of x^0. The polynomial x^64 + x^4 + x^3 + x + 1 gives by repeated
// squaring x^(64u) = x^(4u) + x^(3u) + x^u + 1 for every u = 2^k: a unit of u bits may be taken out of the message if it is
// XORed into the units 60, 61, 63 and 64 places later. With u = 128 that is XOR of whole vectors.

import {
  APPEND_LENGTH,
  APPEND_TABLE,
  CRC_POWERS,
  CRC_SCRATCH,
  CRC_TABLE,
  HEADER_SCRATCH,
  STREAM_BYTES,
  STREAMS,
} from "../layout";

// @ts-ignore: decorator
@inline const UNIT: usize = 16;
// @ts-ignore: decorator
@inline const BLOCK: usize = 1024;

// One stream: the last 64 units and a copy of the first four; input that does not fill a block yet; bookkeeping.
// @ts-ignore: decorator
@inline const STAGING: usize = 1088;
// @ts-ignore: decorator
@inline const FILL: usize = 2144;
// @ts-ignore: decorator
@inline const STARTED: usize = 2148;
// @ts-ignore: decorator
@inline const SEED: usize = 2152;

// @ts-ignore: decorator
@inline const POLYNOMIAL: u64 = 0xd800000000000000;

/** Fills the tables. Called once per instance, because a data segment would be larger than this loop. */
export function setUp(): void {
  for (let index: u32 = 0; index < 256; index++) {
    let value: u64 = index;
    for (let bit = 0; bit < 8; bit++) {
      value = value & 1 ? (value >> 1) ^ POLYNOMIAL : value >> 1;
    }
    store<u16>(CRC_TABLE + index * 2, <u16>(value >> 48));
  }
  let power: u64 = <u64>1 << 55;
  for (let k: u32 = 0; k < 53; k++) {
    store<u64>(CRC_POWERS + k * 8, power);
    power = multiply(power, power);
  }
}

/** a·b modulo the polynomial. */
function multiply(a: u64, b: u64): u64 {
  let product: u64 = 0;
  while (b != 0) {
    product ^= a & (<u64>((<i64>b) >> 63));
    a = (a >> 1) ^ (POLYNOMIAL & (0 - (a & 1)));
    b <<= 1;
  }
  return product;
}

/** a·x^(8·length) XOR b. `length` is a whole number below 2^53. */
export function crcCombine(a: u64, b: u64, length: f64): u64 {
  let rest = <u64>length;
  for (let k: u32 = 0; rest != 0; k++) {
    if (rest & 1) a = multiply(a, load<u64>(CRC_POWERS + k * 8));
    rest >>= 1;
  }
  return a ^ b;
}

/** The state times x^64: two multiplications by a binomial, then the four bits that fell out. */
// @ts-ignore: decorator
@inline
function step(s: u64): u64 {
  let o = (s << 63) ^ (s << 61) ^ (s << 60);
  o ^= o >> 1;
  s ^= s >> 1;
  return s ^ (s >> 3) ^ o ^ (o >> 3);
}

/** Adds any bytes to a plain register. */
function plain(s: u64, at: usize, length: usize): u64 {
  const end = at + length;
  const wordsEnd = at + (length & ~7);
  for (; at < wordsEnd; at += 8) s = step(s ^ load<u64>(at));
  for (; at < end; at++) {
    s = (s >> 8) ^ (<u64>load<u16>(((<usize>s ^ <usize>load<u8>(at)) & 255) << 1, CRC_TABLE) << 48);
  }
  return s;
}

/** new[n] = input XOR p(n) XOR p(n+3), p(n) = ring[n] XOR ring[n+1]. */
function blocksSimd(ring: usize, source: usize, end: usize): void {
  while (source < end) {
    let last = v128.load(ring, 4 * UNIT);
    let r1 = v128.load(ring, 1 * UNIT);
    let r2 = v128.load(ring, 2 * UNIT);
    let r3 = v128.load(ring, 3 * UNIT);
    let p0 = v128.xor(v128.load(ring), r1);
    let p1 = v128.xor(r1, r2);
    let p2 = v128.xor(r2, r3);
    let p3 = v128.xor(r3, last);
    const ringEnd = ring + BLOCK;
    for (let at = ring; at < ringEnd; at += 8 * UNIT) {
      const a = v128.xor(v128.load(source), v128.xor(p0, p3));
      let next = v128.load(at, 5 * UNIT);
      p0 = v128.xor(last, next);
      const b = v128.xor(v128.load(source, UNIT), v128.xor(p1, p0));
      last = v128.load(at, 6 * UNIT);
      p1 = v128.xor(next, last);
      const c = v128.xor(v128.load(source, 2 * UNIT), v128.xor(p2, p1));
      next = v128.load(at, 7 * UNIT);
      p2 = v128.xor(last, next);
      const d = v128.xor(v128.load(source, 3 * UNIT), v128.xor(p3, p2));
      last = v128.load(at, 8 * UNIT);
      p3 = v128.xor(next, last);
      v128.store(at, a);
      v128.store(at, b, UNIT);
      v128.store(at, c, 2 * UNIT);
      v128.store(at, d, 3 * UNIT);
      if (at == ring) {
        v128.store(ring, a, BLOCK);
        v128.store(ring, b, BLOCK + UNIT);
        v128.store(ring, c, BLOCK + 2 * UNIT);
        v128.store(ring, d, BLOCK + 3 * UNIT);
      }
      const e = v128.xor(v128.load(source, 4 * UNIT), v128.xor(p0, p3));
      next = v128.load(at, 9 * UNIT);
      p0 = v128.xor(last, next);
      const f = v128.xor(v128.load(source, 5 * UNIT), v128.xor(p1, p0));
      last = v128.load(at, 10 * UNIT);
      p1 = v128.xor(next, last);
      const g = v128.xor(v128.load(source, 6 * UNIT), v128.xor(p2, p1));
      next = v128.load(at, 11 * UNIT);
      p2 = v128.xor(last, next);
      const h = v128.xor(v128.load(source, 7 * UNIT), v128.xor(p3, p2));
      last = v128.load(at, 12 * UNIT);
      p3 = v128.xor(next, last);
      v128.store(at, e, 4 * UNIT);
      v128.store(at, f, 5 * UNIT);
      v128.store(at, g, 6 * UNIT);
      v128.store(at, h, 7 * UNIT);
      source += 8 * UNIT;
    }
  }
}

/** The same for one 64-bit half of every unit; for engines without SIMD. */
function lane(ring: usize, source: usize): void {
  let last = load<u64>(ring, 4 * UNIT);
  let r1 = load<u64>(ring, 1 * UNIT);
  let r2 = load<u64>(ring, 2 * UNIT);
  let r3 = load<u64>(ring, 3 * UNIT);
  let p0 = load<u64>(ring) ^ r1;
  let p1 = r1 ^ r2;
  let p2 = r2 ^ r3;
  let p3 = r3 ^ last;
  const ringEnd = ring + BLOCK;
  for (let at = ring; at < ringEnd; at += 4 * UNIT) {
    const a = load<u64>(source) ^ p0 ^ p3;
    let next = load<u64>(at, 5 * UNIT);
    p0 = last ^ next;
    const b = load<u64>(source, UNIT) ^ p1 ^ p0;
    last = load<u64>(at, 6 * UNIT);
    p1 = next ^ last;
    const c = load<u64>(source, 2 * UNIT) ^ p2 ^ p1;
    next = load<u64>(at, 7 * UNIT);
    p2 = last ^ next;
    const d = load<u64>(source, 3 * UNIT) ^ p3 ^ p2;
    last = load<u64>(at, 8 * UNIT);
    p3 = next ^ last;
    store<u64>(at, a);
    store<u64>(at, b, UNIT);
    store<u64>(at, c, 2 * UNIT);
    store<u64>(at, d, 3 * UNIT);
    if (at == ring) {
      store<u64>(ring, a, BLOCK);
      store<u64>(ring, b, BLOCK + UNIT);
      store<u64>(ring, c, BLOCK + 2 * UNIT);
      store<u64>(ring, d, BLOCK + 3 * UNIT);
    }
    source += 4 * UNIT;
  }
}

/** Folds whole 1 KiB blocks into a ring. */
function blocks(ring: usize, source: usize, end: usize): void {
  if (ASC_FEATURE_SIMD) {
    blocksSimd(ring, source, end);
  } else {
    for (; source < end; source += BLOCK) {
      lane(ring, source);
      lane(ring + 8, source + 8);
    }
  }
}

/** Units 60 … 63 receive what units 0 … 3 owe them. XOR again takes it back. */
// @ts-ignore: decorator
@inline
function settle<T>(at: usize): void {
  const u: usize = sizeof<T>();
  const r0 = load<T>(at);
  const r1 = load<T>(at + u);
  const r2 = load<T>(at + 2 * u);
  const r3 = load<T>(at + 3 * u);
  store<T>(at + 60 * u, <T>(load<T>(at + 60 * u) ^ r0));
  store<T>(at + 61 * u, <T>(load<T>(at + 61 * u) ^ r0 ^ r1));
  store<T>(at + 62 * u, <T>(load<T>(at + 62 * u) ^ r1 ^ r2));
  store<T>(at + 63 * u, <T>(load<T>(at + 63 * u) ^ r0 ^ r2 ^ r3));
}

/** What 16 bytes of the units from `from` on give to the units 64 places later. */
// @ts-ignore: decorator
@inline
function owedSimd(from: usize, u: usize): v128 {
  return v128.xor(
    v128.xor(v128.load(from), v128.load(from + u)),
    v128.xor(v128.load(from + 3 * u), v128.load(from + 4 * u)),
  );
}

// @ts-ignore: decorator
@inline
function owed(from: usize, u: usize): u64 {
  return load<u64>(from) ^ load<u64>(from + u) ^ load<u64>(from + 3 * u) ^ load<u64>(from + 4 * u);
}

/** Folds the first 64 of 128 units into the second 64; returns where those start. */
// @ts-ignore: decorator
@inline
function fold<T>(at: usize): usize {
  const u: usize = sizeof<T>();
  const half: usize = 64 * u;
  const copy: usize = CRC_SCRATCH + 1024;
  settle<T>(at);
  const to = at + half;
  // Units 64 and later are not folded in this round: the last ones are read from where zeros follow.
  memory.copy(copy, to - 32, 32);
  memory.fill(copy + 32, 0, 32);
  if (ASC_FEATURE_SIMD) {
    for (let i: usize = 0; i < half - 32; i += 16) {
      v128.store(to + i, v128.xor(v128.load(to + i), owedSimd(at + i, u)));
    }
    for (let i: usize = 0; i < 32; i += 16) {
      const end = to + half - 32 + i;
      v128.store(end, v128.xor(v128.load(end), owedSimd(copy + i, u)));
    }
  } else {
    for (let i: usize = 0; i < half - 32; i += 8) {
      store<u64>(to + i, load<u64>(to + i) ^ owed(at + i, u));
    }
    for (let i: usize = 0; i < 32; i += 8) {
      const end = to + half - 32 + i;
      store<u64>(end, load<u64>(end) ^ owed(copy + i, u));
    }
  }
  return to;
}

/** The plain register that the ring in the scratch stands for. Destroys it. */
function reduceScratch(): u64 {
  let at: usize = CRC_SCRATCH;
  // The ring's units have been folded into each other already; undo that (both 64-bit halves of each 128-bit unit).
  for (let half: usize = 0; half < 16; half += 8) {
    const r0 = load<u64>(at + half);
    const r1 = load<u64>(at + half + UNIT);
    const r2 = load<u64>(at + half + 2 * UNIT);
    const r3 = load<u64>(at + half + 3 * UNIT);
    const to = at + half + 60 * UNIT;
    store<u64>(to, load<u64>(to) ^ r0);
    store<u64>(to + UNIT, load<u64>(to + UNIT) ^ r0 ^ r1);
    store<u64>(to + 2 * UNIT, load<u64>(to + 2 * UNIT) ^ r1 ^ r2);
    store<u64>(to + 3 * UNIT, load<u64>(to + 3 * UNIT) ^ r0 ^ r2 ^ r3);
  }
  at = fold<u64>(at);
  at = fold<u32>(at);
  at = fold<u16>(at);
  at = fold<u8>(at);
  return plain(0, at, 64);
}

/** The plain register that a ring stands for. The ring stays as it is. */
function reduce(ring: usize): u64 {
  memory.copy(CRC_SCRATCH, ring, BLOCK);
  return reduceScratch();
}

// @ts-ignore: decorator
@inline
function address(stream: u32): usize {
  return STREAMS + stream * STREAM_BYTES;
}

/** Starts a stream over with this raw register. */
export function crcReset(stream: u32, seed: u64): void {
  const at = address(stream);
  store<u64>(at + SEED, seed);
  store<u32>(at + FILL, 0);
  store<u32>(at + STARTED, 0);
}

/** Copies to the staging buffer in whole words; it has room behind it. */
// @ts-ignore: decorator
@inline
function stage(to: usize, from: usize, length: usize): void {
  const end = from + length;
  while (from < end) {
    store<u64>(to, load<u64>(from));
    store<u64>(to, load<u64>(from, 8), 8);
    from += 16;
    to += 16;
  }
}

/** Folds whole blocks into a stream, which may not have seen any yet. */
function foldBlocks(at: usize, source: usize, end: usize): void {
  if (load<u32>(at + STARTED) == 0) {
    store<u32>(at + STARTED, 1);
    memory.fill(at, 0, BLOCK + 4 * UNIT);
    // A unit that stands 64 places before the first one is XORed into it and nowhere else.
    store<u64>(at, load<u64>(at + SEED));
  }
  blocks(at, source, end);
}

/** Adds bytes to a stream. */
export function crcUpdate(stream: u32, source: usize, length: usize): void {
  const at = address(stream);
  const fill = <usize>load<u32>(at + FILL);
  if (fill + length < BLOCK) {
    stage(at + STAGING + fill, source, length);
    store<u32>(at + FILL, <u32>(fill + length));
    return;
  }
  const end = source + length;
  if (fill != 0) {
    const missing = BLOCK - fill;
    stage(at + STAGING + fill, source, missing);
    foldBlocks(at, at + STAGING, at + STAGING + BLOCK);
    source += missing;
  }
  const rest = (end - source) & (BLOCK - 1);
  if (end - source >= BLOCK) foldBlocks(at, source, end - rest);
  stage(at + STAGING, end - rest, rest);
  store<u32>(at + FILL, <u32>rest);
}

/** The raw register of a stream; the stream stays as it is. */
export function crcState(stream: u32): u64 {
  const at = address(stream);
  const state = load<u32>(at + STARTED) == 0 ? load<u64>(at + SEED) : reduce(at);
  return plain(state, at + STAGING, load<u32>(at + FILL));
}

/** One page checksum per (pgno, address) pair: the CRC of the big-endian page number and the page, bit 63 set. */
export function checksumPages(list: usize, count: u32, pageSize: u32, target: usize, stream: u32): void {
  for (let index: u32 = 0; index < count; index++) {
    store<u32>(HEADER_SCRATCH, bswap(load<u32>(list)));
    const page = <usize>load<u32>(list, 4);
    let state: u64 = ~0;
    if (pageSize < 2048) {
      // The reduction of a ring costs more than plain steps over a short page.
      state = plain(plain(state, HEADER_SCRATCH, 4), page, pageSize);
    } else {
      crcReset(stream, state);
      crcUpdate(stream, HEADER_SCRATCH, 4);
      crcUpdate(stream, page, pageSize);
      state = crcState(stream);
    }
    store<u64>(target, ~state | 0x8000000000000000);
    list += 8;
    target += 8;
  }
}

/** The register, from 0, of a frame: its ten header bytes, then its page. */
export function frameSum(header: usize, page: usize, pageSize: u32): u64 {
  const seed = plain(0, header, 10);
  // The reduction of a ring costs more than plain steps over a short page.
  if (pageSize < 2048) return plain(seed, page, pageSize);
  memory.fill(CRC_SCRATCH, 0, BLOCK + 4 * UNIT);
  store<u64>(CRC_SCRATCH, seed);
  blocks(CRC_SCRATCH, page, page + pageSize);
  return reduceScratch();
}

/** Makes the table that multiplies a register by x^(8·length), for one length at a time. */
function prepareAppend(length: u32): void {
  if (load<u32>(APPEND_LENGTH) == length) return;
  store<u32>(APPEND_LENGTH, length);
  const power = crcCombine(<u64>1 << 63, 0, <f64>length);
  for (let byte: u32 = 0; byte < 8; byte++) {
    const table = APPEND_TABLE + byte * 2048;
    store<u64>(table, 0);
    for (let bit: u32 = 0; bit < 8; bit++) {
      const value = multiply(<u64>1 << (byte * 8 + bit), power);
      const count: u32 = 1 << bit;
      for (let index: u32 = 0; index < count; index++) {
        store<u64>(table + (count + index) * 8, load<u64>(table + index * 8) ^ value);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function shifted(state: u64): u64 {
  let result: u64 = 0;
  for (let byte: usize = 0; byte < 8; byte++) {
    result ^= load<u64>(APPEND_TABLE + byte * 2048 + ((<usize>(state >> (byte << 3)) & 255) << 3));
  }
  return result;
}

/** Adds `length` bytes to a stream of which only the register, from 0, is known. */
export function crcAppend(stream: u32, register: usize, length: u32): void {
  const at = address(stream);
  prepareAppend(length);
  if ((load<u32>(at + FILL) | load<u32>(at + STARTED)) != 0) crcReset(stream, crcState(stream));
  store<u64>(at + SEED, shifted(load<u64>(at + SEED)) ^ load<u64>(register));
}
