import { errorMessage, LitestreamError } from '../lib/errors.ts';
import type { FileStat, FileSystem } from '../lib/file-system.ts';
import { isMissing } from '../lib/os-error.ts';

const SIDECARS = ['-wal', '-shm', '-journal'] as const;

/** The files that SQLite would read together with a database: replayed into a restored one, they corrupt it. */
export function sidecarPaths(path: string): readonly string[] {
  return SIDECARS.map((suffix) => `${path}${suffix}`);
}

async function statAs(
  fileSystem: FileSystem,
  path: string,
  what: string,
): Promise<FileStat | undefined> {
  try {
    return await fileSystem.stat('restore:stat', path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new LitestreamError('ERR_IO', `cannot access ${what} path: ${errorMessage(error)}`, {
      cause: error,
      details: { path },
    });
  }
}

function exists(message: string, path: string): LitestreamError {
  return new LitestreamError('ERR_OUTPUT_EXISTS', message, { details: { path } });
}

/**
 * Refuses an output path that a restore must not replace: a folder always; a file with content, or a `-wal`, `-shm` or `-journal`
 * beside the path (whether the output itself exists or not) unless `force` is set. Changes nothing.
 *
 * Spec: cli 6.2, replication W-14.
 *
 * @throws LitestreamError `ERR_OUTPUT_EXISTS`, or `ERR_IO` if a path cannot be examined.
 */
export async function checkOutputPath(
  fileSystem: FileSystem,
  outputPath: string,
  force: boolean,
): Promise<void> {
  if (outputPath === '') throw new LitestreamError('ERR_USAGE', 'output path required');
  const stat = await statAs(fileSystem, outputPath, 'output');
  if (stat?.kind === 'directory') {
    throw exists(`cannot restore, output path is a directory: ${outputPath}`, outputPath);
  }
  if (force) return;
  if (stat !== undefined && stat.size > 0) {
    throw exists(
      `cannot restore, output path already exists and is not empty: ${outputPath}. Use -force to overwrite`,
      outputPath,
    );
  }
  for (const path of sidecarPaths(outputPath)) {
    if ((await statAs(fileSystem, path, 'SQLite sidecar')) === undefined) continue;
    throw exists(
      `cannot restore, SQLite sidecar path already exists: ${path}. Use -force to overwrite`,
      path,
    );
  }
}
