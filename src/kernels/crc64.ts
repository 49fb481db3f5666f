/**
 * CRC-64/GO-ISO without WebAssembly. Spec: formats 2.10.
 *
 * The register is held in two unsigned 32-bit halves, because 64-bit integers are slow in JavaScript. The polynomial
 * x^64 + x^4 + x^3 + x + 1 is sparse: one 64-bit word is folded in with a few shifts, and no table is needed except for
 * the last one to seven bytes.
 */

const TABLE_HIGH: Uint32Array = /* @__PURE__ */ makeTable();

/** Upper halves of the byte table; all lower halves are zero. */
function makeTable(): Uint32Array {
  const table = new Uint32Array(256);
  for (let index = 0; index < 256; index++) {
    let low = index;
    let high = 0;
    for (let bit = 0; bit < 8; bit++) {
      const carry = low & 1;
      low = (low >>> 1) | ((high & 1) << 31);
      high = (high >>> 1) ^ (carry === 1 ? 0xd800_0000 : 0);
    }
    table[index] = high;
  }
  return table;
}

/**
 * A running CRC-64/GO-ISO. Check value: `123456789` gives `b90956c775a41001`.
 *
 * Spec: formats 2.10.
 */
export class Crc64 {
  /** The register before the final inversion. */
  #low: number;
  #high: number;

  /** @param seed - the raw register to start from; without it all ones. 0 is for parts that are combined later. */
  constructor(seed = 0xffff_ffff_ffff_ffffn) {
    this.#low = Number(seed & 0xffff_ffffn) | 0;
    this.#high = Number(seed >> 32n) | 0;
  }

  /** Adds bytes. Any split of the input gives the same digest. */
  update(bytes: Uint8Array): this {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const wordsEnd = bytes.length & ~7;
    let low = this.#low;
    let high = this.#high;
    for (let at = 0; at < wordsEnd; at += 8) {
      low ^= view.getInt32(at, true);
      high ^= view.getInt32(at + 4, true);
      // Times x^64 = (1 + x)(1 + x^3): two shift-and-XOR steps, then the four bits that fell out at the low end.
      const out = (low << 31) ^ (low << 29) ^ (low << 28);
      const folded = out ^ (out >>> 1);
      low ^= (low >>> 1) | (high << 31);
      high ^= high >>> 1;
      low ^= (low >>> 3) | (high << 29);
      high ^= (high >>> 3) ^ folded ^ (folded >>> 3);
    }
    for (let at = wordsEnd; at < bytes.length; at++) {
      const index = (low ^ view.getUint8(at)) & 255;
      low = (low >>> 8) | (high << 24);
      high = (high >>> 8) ^ (TABLE_HIGH[index] ?? 0);
    }
    this.#low = low;
    this.#high = high;
    return this;
  }

  /** The register before the final inversion: what {@link crc64Combine} needs of a part that was seeded with 0. */
  state(): bigint {
    return (BigInt(this.#high >>> 0) << 32n) | BigInt(this.#low >>> 0);
  }

  /** The CRC of everything added so far, unsigned. Does not disturb the state. */
  digest(): bigint {
    return this.state() ^ 0xffff_ffff_ffff_ffffn;
  }
}

/** CRC-64/GO-ISO of `bytes`, unsigned. Spec: formats 2.10. */
export function crc64(bytes: Uint8Array): bigint {
  return new Crc64().update(bytes).digest();
}

const POLYNOMIAL = 0xd800_0000_0000_0000n;

/** a·b modulo the polynomial. Bit 63 is the coefficient of x^0. */
function multiply(a: bigint, b: bigint): bigint {
  let product = 0n;
  let shifted = a;
  for (let bit = 63n; bit >= 0n && shifted !== 0n; bit--) {
    if (((b >> bit) & 1n) === 1n) product ^= shifted;
    shifted = (shifted & 1n) === 1n ? (shifted >> 1n) ^ POLYNOMIAL : shifted >> 1n;
  }
  return product;
}

/** Entry k is x^(8·2^k), grown on demand. */
const BYTE_POWERS: bigint[] = [1n << 55n];

function bytePower(exponent: number): bigint {
  let known = BYTE_POWERS[exponent];
  if (known === undefined) {
    const root = bytePower(exponent - 1);
    known = multiply(root, root);
    BYTE_POWERS[exponent] = known;
  }
  return known;
}

/**
 * The CRC of A‖B from the CRCs of A and B and the length of B in bytes.
 *
 * Returns a·x^(8·lengthB) XOR b modulo the polynomial. That one formula serves two conventions; do not mix them:
 * - finished values: `a = crc64(A)`, `b = crc64(B)`, result `crc64(A‖B)`;
 * - raw registers ({@link Crc64.state}): `a` = register after A with any seed, `b` = register after B with seed **0**,
 *   result = register after A‖B with A's seed. The initial and final inversions cancel, hence the same formula.
 *
 * `lengthB` counts bytes fed to the CRC, 0 … 2^53−1.
 */
export function crc64Combine(a: bigint, b: bigint, lengthB: number): bigint {
  let result = a;
  let rest = lengthB;
  for (let exponent = 0; rest > 0; exponent++) {
    if (rest % 2 === 1) result = multiply(result, bytePower(exponent));
    rest = Math.floor(rest / 2);
  }
  return result ^ b;
}
