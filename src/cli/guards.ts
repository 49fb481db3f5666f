import { errorMessage } from '../lib/errors.ts';
import { EXIT_ERROR } from './exit-codes.ts';

/**
 * An error that nobody handled leaves the state of this process unknown: it is said, and the process ends at once, with status 1. SQLite is
 * not closed, which keeps the WAL, and everything on disk is as after a kill: the next start goes on from it. Spec: failures NODE-10.
 */
export function guardProcess(write: (text: string) => void): void {
  const end = (error: unknown): void => {
    const where = error instanceof Error && error.stack !== undefined ? `\n${error.stack}` : '';
    try {
      write(`Error: unexpected error, ending: ${errorMessage(error)}${where}\n`);
    } finally {
      process.exit(EXIT_ERROR);
    }
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}
