import { isAbsolute, resolve } from 'node:path';
import { DEFAULT_SOCKET_PATH } from '../../config/index.ts';
import { limitPositionals, usageError } from '../command.ts';
import { boolFlag, type Flag, intFlag, stringFlag } from '../flags.ts';

/** The daemon's own answer to a request that takes too long wins over ours: it says why. */
const GRACE_MS = 1500;

/** The flags of every command that talks to a daemon. */
export function controlFlags(seconds: number): {
  readonly socket: Flag<string>;
  readonly timeout: Flag<number>;
  readonly json: Flag<boolean>;
} {
  return {
    socket: stringFlag(
      'PATH',
      `control socket of the daemon (default ${DEFAULT_SOCKET_PATH})`,
      DEFAULT_SOCKET_PATH,
    ),
    timeout: intFlag('SECONDS', 'how long to wait for the daemon, in seconds', seconds),
    json: boolFlag('print JSON'),
  };
}

/** @throws LitestreamError `ERR_USAGE` */
export function requirePositive(seconds: number): void {
  if (seconds <= 0) throw usageError('timeout must be greater than 0');
}

/** How long the client waits when the daemon has been told to take so many seconds at most. */
export function clientTimeoutMs(seconds: number): number {
  return seconds > 0 ? seconds * 1000 + GRACE_MS : 0;
}

/**
 * The one path of a command, as it is sent: a relative one means a file below this process's working directory, not the daemon's.
 *
 * @throws LitestreamError `ERR_USAGE` `database path required`, `too many arguments`
 *
 * Spec: cli 11.
 */
export function pathArgument(positionals: readonly string[], hint: string): string {
  const [argument] = positionals;
  if (argument === undefined) throw usageError('database path required', hint);
  limitPositionals(positionals, 1);
  const isForDaemon =
    argument === '' || isAbsolute(argument) || /^(?:~|sqlite3?:\/\/)/.test(argument);
  return isForDaemon ? argument : resolve(argument);
}
