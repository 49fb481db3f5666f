import { LitestreamError } from '../../../lib/errors.ts';
import { hasStatus, named, STATUS } from './errors.ts';
import type { RemoteFiles } from './remote-files.ts';

/** Gives a complete temporary file its name. */
export interface Publication {
  readonly files: Pick<RemoteFiles, 'remove' | 'rename' | 'replace' | 'stat'>;
  readonly temporary: string;
  readonly path: string;
}

function renaming({ temporary, path }: Publication): string {
  return `cannot rename temporary ltx file "${temporary}" to "${path}"`;
}

/**
 * Takes the place of whatever has the name. In one step where the server has OpenSSH's extension; otherwise the file that is there
 * gives way first, and comes back if the new one cannot take its place.
 */
export async function publish(publication: Publication): Promise<void> {
  const { files, temporary, path } = publication;
  try {
    await files.replace(temporary, path);
  } catch (error) {
    if (!hasStatus(error, STATUS.unsupported)) throw error;
    await named(renaming(publication), path, replaceInSteps(publication));
  }
}

async function replaceInSteps({ files, temporary, path }: Publication): Promise<void> {
  try {
    await files.rename(temporary, path);
    return;
  } catch (error) {
    if (!isTaken(error) || (await files.stat(path)) === undefined) throw error;
  }
  const aside = `${temporary}.old.tmp`;
  await files.rename(path, aside);
  try {
    await files.rename(temporary, path);
  } catch (error) {
    await files.rename(aside, path).catch(() => undefined);
    throw error;
  }
  await files.remove(aside);
}

/**
 * Takes the name only if it is free: the protocol's own rename, which OpenSSH does in one step.
 *
 * @throws LitestreamError `ERR_STORAGE_EXISTS`
 */
export async function publishNew(publication: Publication): Promise<void> {
  const { files, temporary, path } = publication;
  // Some servers replace silently.
  if ((await files.stat(path)) !== undefined) throw exists(path);
  try {
    await files.rename(temporary, path);
  } catch (error) {
    if (isTaken(error) && (await files.stat(path)) !== undefined) throw exists(path, error);
    throw error;
  }
}

/** What servers answer when a name is taken; OpenSSH says no more than that it failed. */
function isTaken(error: unknown): boolean {
  return hasStatus(error, STATUS.failure, STATUS.alreadyExists, STATUS.permissionDenied);
}

function exists(path: string, cause?: unknown): LitestreamError {
  return new LitestreamError('ERR_STORAGE_EXISTS', `sftp: "${path}": file exists`, {
    cause,
    details: { path },
  });
}
