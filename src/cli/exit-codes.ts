import { errorMessage, LitestreamError } from '../lib/errors.ts';
import { remedyOf } from '../lib/remedy.ts';
import type { Io } from './command.ts';

/** Success, help, a restore that had nothing to do, a child that ended with 0. */
export const EXIT_OK = 0;
/** Everything else; a child's own status is not passed on. Spec: cli 1.3. */
export const EXIT_ERROR = 1;

/**
 * Prints `Error: …`, and `Try: …` for usage errors that know better; on a terminal also what other errors advise, which scripts do
 * not expect. Returns the exit code. Spec: cli 1.4.
 */
export function printError(error: unknown, { stderr }: Pick<Io, 'stderr'>): number {
  stderr.write(`Error: ${errorMessage(error)}\n`);
  if (error instanceof LitestreamError && error.code === 'ERR_USAGE') {
    if (error.hint !== undefined) stderr.write(`Try: ${error.hint}\n`);
  } else {
    const remedy = stderr.terminal ? remedyOf(error) : undefined;
    if (remedy !== undefined) stderr.write(`Hint: ${remedy}\n`);
  }
  return EXIT_ERROR;
}
