import { chmod, link, lstat, rename, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { type Clock, sleep } from '../../lib/clock.ts';
import { errorMessage, LitestreamError, wrapError } from '../../lib/errors.ts';
import { isMissing, osErrorCode, osErrorText } from '../../lib/os-error.ts';

/** A live daemon answers in microseconds, a stuck one is alive all the same. */
const PROBE_MS = 1000;

/** What tells a socket file apart from its successor. */
export interface SocketIdentity {
  readonly dev: number;
  readonly ino: number;
}

/** The name under which a socket is made before it takes its place: short, because the length of such names is limited. */
export function temporaryName(path: string, random: () => number): string {
  const suffix = Math.floor(random() * 36 ** 4)
    .toString(36)
    .padStart(4, '0');
  return join(dirname(path), `.${suffix}`);
}

/** `listen unix <path>: bind: <text>`, whatever the name that was really tried. */
export async function bindError(path: string, error: unknown): Promise<LitestreamError> {
  const errno = await bindErrorCode(path, error);
  const text = errno === undefined ? errorMessage(error) : osErrorText(errno);
  return new LitestreamError(
    'ERR_IO',
    `listen on unix socket: listen unix ${path}: bind: ${text}`,
    {
      cause: error,
      details: { path, ...(errno === undefined ? {} : { errno }) },
    },
  );
}

/** Node reports a missing folder as one without permission. */
async function bindErrorCode(path: string, error: unknown): Promise<string | undefined> {
  const errno = osErrorCode(error);
  if (errno !== 'EACCES') return errno;
  try {
    await lstat(dirname(path));
    return errno;
  } catch (missing) {
    return osErrorCode(missing);
  }
}

/** True if somebody accepts connections, or may: without the right to ask, nothing is taken away. */
async function isServed(path: string, clock: Clock): Promise<boolean> {
  const socket = connect(path);
  const answer = new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', (error) => {
      const errno = osErrorCode(error);
      resolve(errno !== 'ECONNREFUSED' && errno !== 'ENOENT');
    });
  });
  const bound = new AbortController();
  const late = sleep(clock, PROBE_MS, bound.signal).then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([answer, late]);
  } finally {
    bound.abort();
    socket.destroy();
  }
}

/**
 * Makes way for a socket: what a daemon that has ended left behind is removed, anything else is not touched.
 *
 * @returns true if the path is free; false if another process serves it
 * @throws LitestreamError `ERR_IO` `socket path exists but is not a socket: …`, `check socket path: …`, `remove existing socket: …`
 *
 * Spec: interfaces 2.1.
 */
export async function makeWay(path: string, clock: Clock): Promise<boolean> {
  let found;
  try {
    found = await lstat(path);
  } catch (error) {
    // A missing folder is the bind's to report.
    if (isMissing(error)) return true;
    throw wrapError('check socket path', error);
  }
  if (!found.isSocket()) {
    const text = `socket path exists but is not a socket: ${path}`;
    throw new LitestreamError('ERR_IO', text, { details: { path } });
  }
  if (await isServed(path, clock)) return false;
  try {
    await removeOwn(path, found);
  } catch (error) {
    throw wrapError('remove existing socket', error);
  }
  return true;
}

/**
 * Gives a listening socket its place and its mode, in one step: nobody can connect before, and one that somebody else has put there
 * meanwhile stays.
 *
 * @returns what was put there; undefined if somebody else was faster
 * @throws LitestreamError `ERR_IO`
 */
export async function takePlace(
  temporary: string,
  path: string,
  permissions: number,
): Promise<SocketIdentity | undefined> {
  try {
    await chmod(temporary, permissions & 0o7777);
  } catch (error) {
    throw wrapError('chmod socket', error);
  }
  const { dev, ino } = await lstat(temporary);
  try {
    await link(temporary, path);
    await unlink(temporary);
  } catch (error) {
    const errno = osErrorCode(error);
    if (errno === 'EEXIST') return undefined;
    // A file system without second names.
    if (errno !== 'EPERM' && errno !== 'EOPNOTSUPP' && errno !== 'ENOTSUP' && errno !== 'ENOSYS') {
      throw await bindError(path, error);
    }
    await rename(temporary, path);
  }
  return { dev, ino };
}

/** Removes a socket file unless it is another one by now. */
export async function removeOwn(path: string, own: SocketIdentity): Promise<void> {
  try {
    const { dev, ino } = await lstat(path);
    if (dev === own.dev && ino === own.ino) await unlink(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}
