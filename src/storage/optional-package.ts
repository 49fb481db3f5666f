import { osErrorCode } from '../lib/os-error.ts';
import { LitestreamError } from '../lib/errors.ts';

/**
 * Loads a package that only some replicas need and that an installation may have left out.
 *
 * @param load - `() => import('name')`.
 * @param purpose - what needs it: `abs replicas`.
 * @param packages - all names that have to be installed together.
 * @throws LitestreamError `ERR_STORAGE_URL` with the command that installs them.
 */
export async function optionalPackage<T>(
  load: () => Promise<T>,
  purpose: string,
  ...packages: readonly string[]
): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if (osErrorCode(error) !== 'ERR_MODULE_NOT_FOUND') throw error;
    const hint = `npm install ${packages.join(' ')}`;
    throw new LitestreamError(
      'ERR_STORAGE_URL',
      `${purpose} need a package that is not installed; run: ${hint}`,
      { cause: error, hint, details: { packages } },
    );
  }
}
