import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { FileStat, FileSystem } from './file-system.ts';

/** `owner 0:0, mode 0644`. */
export function ownerText({ gid, mode, uid }: FileStat): string {
  return `owner ${uid}:${gid}, mode ${mode.toString(8).padStart(4, '0')}`;
}

/** True if this process may use the path in that way (constants of `fs.access`). */
export async function isAllowed(path: string, mode: number): Promise<boolean> {
  try {
    await access(path, mode);
    return true;
  } catch {
    return false;
  }
}

/**
 * Of a database, its -wal, its -shm and their folder, those that this process may not read and write, with owner and mode. SQLite needs
 * all of them even to read in WAL mode. Opens none of them. Spec: failures OPS-08.
 */
export async function findRefusedPaths(path: string, fileSystem: FileSystem): Promise<string[]> {
  const refused: string[] = [];
  for (const each of [path, `${path}-wal`, `${path}-shm`, dirname(path)]) {
    const stat = await fileSystem.stat('access:stat', each);
    if (stat === undefined) continue;
    const search = stat.kind === 'directory' ? constants.X_OK : 0;
    const wanted = constants.R_OK | constants.W_OK | search;
    if (!(await isAllowed(each, wanted))) refused.push(`${each} (${ownerText(stat)})`);
  }
  return refused;
}
