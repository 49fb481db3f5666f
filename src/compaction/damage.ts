import { formatTxid } from '../formats/ltx/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { FileKey } from '../storage/index.ts';

/** Where in a file something is wrong. */
export interface DamageDetails {
  readonly field: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly expected: string | number;
  readonly found: string | number;
}

export function damage(text: string, details: DamageDetails): LitestreamError {
  return new LitestreamError('ERR_LTX_CORRUPTED', text, { details: { ...details } });
}

/** True if a file's bytes are wrong, as opposed to not being readable. */
export function isDamage(error: unknown): error is LitestreamError {
  return (
    error instanceof LitestreamError &&
    (error.code === 'ERR_LTX_CORRUPTED' || error.code === 'ERR_LTX_HEADER')
  );
}

/** The error with the file's name in front, and its key in the details. */
export function nameInput(file: FileKey, error: unknown): unknown {
  if (!(error instanceof LitestreamError) || error.code === 'ERR_ABORTED') return error;
  const { level, minTxid, maxTxid } = file;
  const name = `ltx file (level=${level} min=${formatTxid(minTxid)} max=${formatTxid(maxTxid)})`;
  return new LitestreamError(error.code, `${name}: ${error.message}`, {
    cause: error,
    retryable: error.retryable,
    details: { ...error.details, level, minTxid, maxTxid },
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}
