import { LitestreamError, type ErrorCode } from '../../lib/errors.ts';

/** Where in a file something is wrong, and what was there. */
export interface Damage {
  /** Name of the field, as in the format description. */
  readonly field: string;
  /** Byte offset of the field from the start of the file (or of the bytes given). */
  readonly offset: number;
  readonly expected: string | number;
  readonly found: string | number;
}

/**
 * An error about bytes that were read. The message is `text (field at byte N: expected E, found F)`; `text` is the
 * reference's wording where it has one.
 */
export function damaged(text: string, damage: Damage, code?: ErrorCode): LitestreamError {
  const { field, offset, expected, found } = damage;
  return new LitestreamError(
    code ?? 'ERR_LTX_CORRUPTED',
    `${text} (${field} at byte ${offset}: expected ${expected}, found ${found})`,
    { details: { field, offset, expected, found } },
  );
}

/** `0x%08x` of an unsigned value. */
export function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}
