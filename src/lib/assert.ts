import { LitestreamError } from './errors.ts';

/**
 * Stops a programmer error. Assertions stay on in production: a failed one stops the affected database's loop, never
 * the process.
 *
 * @throws LitestreamError `ERR_ASSERTION`
 */
export function assert(condition: boolean, expectation: string): asserts condition {
  if (!condition) throw new LitestreamError('ERR_ASSERTION', `assertion failed: ${expectation}`);
}

/** The value, or `ERR_ASSERTION` if it is missing. For reads whose index was checked before. */
export function present<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) {
    throw new LitestreamError('ERR_ASSERTION', `assertion failed: ${what} is present`);
  }
  return value;
}
