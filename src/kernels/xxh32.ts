const PRIME_1 = 0x9e37_79b1;
const PRIME_2 = 0x85eb_ca77;
const PRIME_3 = 0xc2b2_ae3d;
const PRIME_4 = 0x27d4_eb2f;
const PRIME_5 = 0x1656_67b1;

const STRIPE = 16;

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function round(lane: number, word: number): number {
  return Math.imul(rotate((lane + Math.imul(word, PRIME_2)) | 0, 13), PRIME_1);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The four running sums. */
type Lanes = Int32Array<ArrayBuffer>;

function startLanes(seed: number): Lanes {
  return Int32Array.of(seed + PRIME_1 + PRIME_2, seed + PRIME_2, seed, seed - PRIME_1);
}

/** Consumes all whole stripes of 16 bytes. */
function stripes(view: DataView, lanes: Lanes): void {
  const end = view.byteLength - (view.byteLength % STRIPE);
  let lane1 = lanes[0]!;
  let lane2 = lanes[1]!;
  let lane3 = lanes[2]!;
  let lane4 = lanes[3]!;
  for (let at = 0; at < end; at += STRIPE) {
    lane1 = round(lane1, view.getInt32(at, true));
    lane2 = round(lane2, view.getInt32(at + 4, true));
    lane3 = round(lane3, view.getInt32(at + 8, true));
    lane4 = round(lane4, view.getInt32(at + 12, true));
  }
  lanes[0] = lane1;
  lanes[1] = lane2;
  lanes[2] = lane3;
  lanes[3] = lane4;
}

function joinLanes(lanes: Lanes): number {
  return (
    rotate(lanes[0]!, 1) + rotate(lanes[1]!, 7) + rotate(lanes[2]!, 12) + rotate(lanes[3]!, 18)
  );
}

/** @param rest - what is left behind the last whole stripe, less than 16 bytes */
function finish(start: number, rest: DataView): number {
  const { byteLength } = rest;
  let hash = start | 0;
  let at = 0;
  for (; at + 4 <= byteLength; at += 4) {
    hash = (hash + Math.imul(rest.getInt32(at, true), PRIME_3)) | 0;
    hash = Math.imul(rotate(hash, 17), PRIME_4);
  }
  for (; at < byteLength; at++) {
    hash = (hash + Math.imul(rest.getUint8(at), PRIME_5)) | 0;
    hash = Math.imul(rotate(hash, 11), PRIME_1);
  }
  hash = Math.imul(hash ^ (hash >>> 15), PRIME_2);
  hash = Math.imul(hash ^ (hash >>> 13), PRIME_3);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** XXH32 of bytes that arrive in pieces. */
export class Xxh32 {
  readonly #seed: number;
  readonly #lanes: Lanes;
  /** What does not make a stripe yet. */
  readonly #rest = new Uint8Array(STRIPE);
  #restLength = 0;
  /** Modulo 2^32. */
  #length = 0;
  #striped = false;

  constructor(seed: number = 0) {
    this.#seed = seed;
    this.#lanes = startLanes(seed);
  }

  update(bytes: Uint8Array): void {
    this.#length = (this.#length + bytes.length) >>> 0;
    let piece = bytes;
    if (this.#restLength > 0) {
      const head = piece.subarray(0, STRIPE - this.#restLength);
      this.#rest.set(head, this.#restLength);
      this.#restLength += head.length;
      if (this.#restLength < STRIPE) return;
      this.#take(this.#rest);
      this.#restLength = 0;
      piece = piece.subarray(head.length);
    }
    const whole = piece.length - (piece.length % STRIPE);
    if (whole > 0) this.#take(piece);
    this.#rest.set(piece.subarray(whole));
    this.#restLength = piece.length - whole;
  }

  /** Unsigned, of everything so far. More may follow. */
  digest(): number {
    const start = this.#striped ? joinLanes(this.#lanes) : this.#seed + PRIME_5;
    return finish(start + this.#length, viewOf(this.#rest.subarray(0, this.#restLength)));
  }

  #take(bytes: Uint8Array): void {
    this.#striped = true;
    stripes(viewOf(bytes), this.#lanes);
  }
}

/** XXH32 of `bytes`, unsigned: header and content checksums of LZ4 frames. Spec: formats 2.6. */
export function xxh32(bytes: Uint8Array, seed: number = 0): number {
  const { length } = bytes;
  const whole = length - (length % STRIPE);
  let start = seed + PRIME_5;
  if (whole > 0) {
    const lanes = startLanes(seed);
    stripes(viewOf(bytes), lanes);
    start = joinLanes(lanes);
  }
  return finish(start + length, viewOf(bytes.subarray(whole)));
}
