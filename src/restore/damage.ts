import { formatTxid } from '../formats/ltx/index.ts';
import { errorMessage, LitestreamError } from '../lib/errors.ts';
import type { FileInfo, FileKey } from '../storage/index.ts';

/** Where in a file something is wrong, and what was there. */
export interface DamageDetails {
  readonly field: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly expected: string | number;
  readonly found: string | number;
}

/** `level=%d min=%s max=%s`, as the reference names a file. */
export function fileName({ level, minTxid, maxTxid }: FileKey): string {
  return `level=${level} min=${formatTxid(minTxid)} max=${formatTxid(maxTxid)}`;
}

function prefix(file: FileKey): string {
  return `ltx file (${fileName(file)})`;
}

/** An error about one planned file: `ltx file (level=… min=… max=…): <text> (<field> at byte N: expected E, found F)`. */
export function fileDamage(file: FileInfo, text: string, details: DamageDetails): LitestreamError {
  const { level, minTxid, maxTxid } = file;
  const { field, offset, expected, found } = details;
  return new LitestreamError(
    'ERR_LTX_CORRUPTED',
    `${prefix(file)}: ${text} (${field} at byte ${offset}: expected ${expected}, found ${found})`,
    { details: { level, minTxid, maxTxid, ...details } },
  );
}

/** Names the file in an error of a format decoder; other errors name it already, or have nothing to do with it. */
export function nameFile(file: FileInfo, error: unknown): unknown {
  if (!isDamage(error) || 'minTxid' in error.details) return error;
  const { level, minTxid, maxTxid } = file;
  return new LitestreamError(error.code, `${prefix(file)}: ${errorMessage(error)}`, {
    cause: error,
    details: { ...error.details, level, minTxid, maxTxid },
  });
}

/** True if a file's bytes are wrong, as opposed to not being readable. */
export function isDamage(error: unknown): error is LitestreamError {
  return (
    error instanceof LitestreamError &&
    (error.code === 'ERR_LTX_CORRUPTED' || error.code === 'ERR_LTX_HEADER')
  );
}
