/** Most bytes of a 64-bit uvarint. */
export const UVARINT_MAX = 10;

/** Bytes that {@link putUvarint} writes for `value`. */
export function uvarintLength(value: number): number {
  let length = 1;
  while (value >= 0x80) {
    value = Math.floor(value / 0x80);
    length++;
  }
  return length;
}

/**
 * Writes unsigned LEB128: 7 bits per byte, least significant first. Spec: formats 1.
 *
 * @param value 0 … 2^53−1
 * @param at position in `target`, which must have room (10 bytes always suffice)
 * @returns the position behind the last byte
 */
export function putUvarint(target: Uint8Array, at: number, value: number): number {
  // The low seven bits of a double: `%` is exact up to 2^53, `&` would wrap at 2^32.
  while (value > 0x7fff_ffff) {
    target[at++] = (value % 0x80) | 0x80;
    value = Math.floor(value / 0x80);
  }
  while (value >= 0x80) {
    target[at++] = value | 0x80;
    value >>>= 7;
  }
  target[at++] = value;
  return at;
}

/** A position in bytes, moved by {@link readUvarint}. */
export interface Cursor {
  at: number;
}

/**
 * Reads one uvarint at the cursor and moves the cursor behind it. The fast way: −1, and the cursor stays, if the bytes
 * end before the value does or {@link UvarintReader} would call it invalid.
 */
export function readUvarint(bytes: Uint8Array, cursor: Cursor): number {
  let { at } = cursor;
  const end = Math.min(bytes.length, at + UVARINT_MAX - 1);
  let value = 0;
  let scale = 1;
  while (at < end) {
    const byte = bytes[at++]!;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      if ((byte === 0 && scale > 1) || value > Number.MAX_SAFE_INTEGER) return -1;
      cursor.at = at;
      return value;
    }
    scale *= 0x80;
  }
  return -1;
}

/**
 * Reads uvarints from pieces that may end anywhere. Feed bytes to {@link UvarintReader.push} until it returns true.
 * Only values up to 2^53−1 in their shortest form are accepted: the reference writes no other.
 */
export class UvarintReader {
  value = 0;
  /** True if the last byte broke the encoding: more than 10 bytes, above 2^53−1, or not the shortest form. */
  invalid = false;
  #scale = 1;
  #length = 0;

  /** Bytes of the value read so far. */
  get partial(): number {
    return this.#length;
  }

  /** True if `byte` was the last one of a value (or broke it): then see `value` and `invalid`. */
  push(byte: number): boolean {
    if (this.#length === 0) this.value = 0;
    const bits = byte & 0x7f;
    this.value += bits * this.#scale;
    this.#length++;
    const last = byte < 0x80;
    if (this.value > Number.MAX_SAFE_INTEGER || this.#length >= UVARINT_MAX) this.invalid = true;
    if (last && bits === 0 && this.#length > 1) this.invalid = true;
    if (!last && !this.invalid) {
      this.#scale *= 0x80;
      return false;
    }
    this.#scale = 1;
    this.#length = 0;
    return true;
  }
}
