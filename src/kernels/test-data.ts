/** Inputs and oracles shared by the tests of this folder. */

/** Every page size SQLite allows. */
export const pageSizes: readonly number[] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/** Reproducible bytes without structure. */
export function noise(size: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let state = (seed * 2654435761 + 1) >>> 0 || 1;
  for (let index = 0; index < size; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state >>> 16;
  }
  return bytes;
}

/** UTF-8 of `value`, repeated to `size` bytes if a size is given. */
export function text(value: string, size?: number): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(value);
  if (size === undefined) return bytes;
  return Uint8Array.from({ length: size }, (_, index) => bytes[index % bytes.length] ?? 0);
}

/** CRCs of all prefixes, by the byte table of formats 2.10 in 64-bit arithmetic. */
export function crc64Oracle(bytes: Uint8Array): bigint[] {
  const table = Array.from({ length: 256 }, (_, index) => {
    let value = BigInt(index);
    for (let bit = 0; bit < 8; bit++) {
      value = (value & 1n) === 1n ? (value >> 1n) ^ 0xd800_0000_0000_0000n : value >> 1n;
    }
    return value;
  });
  const ones = 0xffff_ffff_ffff_ffffn;
  let register = ones;
  const results = [register ^ ones];
  for (const byte of bytes) {
    register = (table[Number((register ^ BigInt(byte)) & 255n)] ?? 0n) ^ (register >> 8n);
    results.push(register ^ ones);
  }
  return results;
}

/** One page of each kind that stresses LZ4: zeros, periods 1–16, noise, text, mixtures, a SQLite-like layout. */
export function samples(size: number): Uint8Array<ArrayBuffer>[] {
  const pages = [new Uint8Array(size), noise(size, size), text('The quick brown fox. ', size)];
  for (let period = 1; period <= 16; period++) {
    const pattern = noise(period, period + 40);
    pages.push(new Uint8Array(size).map((_, index) => pattern[index % period] ?? 0));
  }
  const half = noise(size, 77);
  half.copyWithin(size / 2, 0, size / 4);
  pages.push(half);
  const late = noise(size, 78);
  late.fill(0, size / 3, size - 7);
  pages.push(late);
  const rows = new Uint8Array(size);
  for (let at = size - 40; at > size / 4; at -= 37 + (at % 11)) {
    rows.set(text(`row ${at} user${at % 97}@example.com`).subarray(0, 40), at);
  }
  pages.push(rows);
  return pages;
}
