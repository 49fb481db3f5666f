import { hasStatus, STATUS } from './errors.ts';
import type { RemoteEntry, RemoteFiles } from './remote-files.ts';

/** A symbolic link to a folder above would lead in circles; no layout is deeper than this. */
const DEPTH_MAX = 8;

export interface TreeFile {
  /** Relative to the folder that was asked for. */
  readonly path: string;
  readonly size: number;
  readonly modifiedAt: number;
}

/** All files below a folder; none if it does not exist. */
export async function walk(files: RemoteFiles, root: string): Promise<TreeFile[]> {
  const found: TreeFile[] = [];
  const enter = async (below: string, depth: number): Promise<void> => {
    for (const entry of await entriesOf(files, join(root, below))) {
      const path = join(below, entry.name);
      const { kind, size, modifiedAt } = await resolve(files, join(root, path), entry);
      if (kind === 'file') found.push({ path, size, modifiedAt });
      if (kind === 'directory' && depth < DEPTH_MAX) await enter(path, depth + 1);
    }
  };
  await enter('', 0);
  return found;
}

/** Removes a folder and all below it: files first, then folders, deepest first. Links are removed, never followed. */
export async function removeTree(files: RemoteFiles, root: string): Promise<void> {
  for (const { name, kind } of await entriesOf(files, root)) {
    const path = join(root, name);
    await (kind === 'directory' ? removeTree(files, path) : files.remove(path));
  }
  await files.removeDirectory(root);
}

async function entriesOf(files: RemoteFiles, path: string): Promise<readonly RemoteEntry[]> {
  try {
    return await files.list(path);
  } catch (error) {
    if (hasStatus(error, STATUS.noSuchFile)) return [];
    throw error;
  }
}

async function resolve(
  files: RemoteFiles,
  path: string,
  entry: RemoteEntry,
): Promise<Omit<RemoteEntry, 'name'>> {
  return entry.kind === 'link' ? ((await files.stat(path)) ?? entry) : entry;
}

function join(folder: string, name: string): string {
  if (folder === '' || name === '') return folder + name;
  return folder.endsWith('/') ? folder + name : `${folder}/${name}`;
}
