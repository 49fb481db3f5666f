import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import type { FileSystem } from '../../lib/file-system.ts';
import { remedyOf } from '../../lib/remedy.ts';
import { findRefusedPaths } from '../../lib/write-access.ts';

/**
 * The same error with the database's paths that this process may not use, their owners and modes: SQLite says neither which of its files
 * it is nor whose. Spec: failures OPS-08.
 */
export async function withRefusedPaths(
  path: string,
  fileSystem: FileSystem,
  error: unknown,
): Promise<unknown> {
  if (!isLitestreamError(error)) return error;
  const refused = await findRefusedPaths(path, fileSystem).catch(() => []);
  if (refused.length === 0) return error;
  const { code, details, retryable } = error;
  const message = `${error.message}: no read and write access to ${refused.join(', ')}`;
  const hint = error.hint ?? remedyOf(new LitestreamError('ERR_DB_READONLY', message));
  const known = hint === undefined ? {} : { hint };
  return new LitestreamError(code, message, { cause: error, details, retryable, ...known });
}
