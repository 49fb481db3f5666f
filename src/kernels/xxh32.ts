const PRIME_1 = 0x9e37_79b1;
const PRIME_2 = 0x85eb_ca77;
const PRIME_3 = 0xc2b2_ae3d;
const PRIME_4 = 0x27d4_eb2f;
const PRIME_5 = 0x1656_67b1;

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function round(lane: number, word: number): number {
  return Math.imul(rotate((lane + Math.imul(word, PRIME_2)) | 0, 13), PRIME_1);
}

/** Consumes all whole 16-byte stripes of at least one. */
function stripes(view: DataView, seed: number): number {
  const end = view.byteLength & ~15;
  let lane1 = (seed + PRIME_1 + PRIME_2) | 0;
  let lane2 = (seed + PRIME_2) | 0;
  let lane3 = seed | 0;
  let lane4 = (seed - PRIME_1) | 0;
  for (let at = 0; at < end; at += 16) {
    lane1 = round(lane1, view.getInt32(at, true));
    lane2 = round(lane2, view.getInt32(at + 4, true));
    lane3 = round(lane3, view.getInt32(at + 8, true));
    lane4 = round(lane4, view.getInt32(at + 12, true));
  }
  return (rotate(lane1, 1) + rotate(lane2, 7) + rotate(lane3, 12) + rotate(lane4, 18)) | 0;
}

/** XXH32 of `bytes`, unsigned: header and content checksums of LZ4 frames. Spec: formats 2.6. */
export function xxh32(bytes: Uint8Array, seed = 0): number {
  const { length } = bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  let hash = length >= 16 ? stripes(view, seed) : (seed + PRIME_5) | 0;
  let at = length & ~15;
  hash = (hash + length) | 0;
  for (; at + 4 <= length; at += 4) {
    hash = (hash + Math.imul(view.getInt32(at, true), PRIME_3)) | 0;
    hash = Math.imul(rotate(hash, 17), PRIME_4);
  }
  for (; at < length; at++) {
    hash = (hash + Math.imul(view.getUint8(at), PRIME_5)) | 0;
    hash = Math.imul(rotate(hash, 11), PRIME_1);
  }
  hash = Math.imul(hash ^ (hash >>> 15), PRIME_2);
  hash = Math.imul(hash ^ (hash >>> 13), PRIME_3);
  return (hash ^ (hash >>> 16)) >>> 0;
}
