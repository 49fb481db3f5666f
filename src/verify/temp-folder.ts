import { join } from 'node:path';
import type { FileSystem } from '../lib/file-system.ts';
import { isAlive, ownIdentity } from '../lib/process-identity.ts';

const NAME = /^litestream-verify-(\d+)-(\d*)-(\d+)$/;
let created = 0;

/** A folder for one restore drill. What a killed run has left beside it is removed first. */
export class TempFolder {
  readonly path: string;
  readonly #fileSystem: FileSystem;

  private constructor(path: string, fileSystem: FileSystem) {
    this.path = path;
    this.#fileSystem = fileSystem;
  }

  /** @throws LitestreamError `ERR_IO`, `ERR_DISK_FULL` */
  static async create(parent: string, fileSystem: FileSystem): Promise<TempFolder> {
    await removeAbandoned(parent, fileSystem);
    const { pid, startedAt } = ownIdentity();
    const path = join(parent, `litestream-verify-${pid}-${startedAt}-${created++}`);
    await fileSystem.makeDirectory('verify:mkdir', path);
    return new TempFolder(path, fileSystem);
  }

  /** Removes the folder and what is in it. Never throws: the next run removes what stays. */
  async remove(): Promise<void> {
    await quietly(() => this.#fileSystem.removeTree('verify:remove', this.path));
  }
}

/** Removes the folders of processes that have ended. */
async function removeAbandoned(parent: string, fileSystem: FileSystem): Promise<void> {
  let names: string[] = [];
  await quietly(async () => {
    names = await fileSystem.list('verify:list', parent);
  });
  for (const name of names) {
    const found = NAME.exec(name);
    if (found === null) continue;
    const [, pid = '', startedAt = ''] = found;
    if (isAlive({ pid: Number(pid), startedAt })) continue;
    await quietly(() => fileSystem.removeTree('verify:remove', join(parent, name)));
  }
}

async function quietly(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch {
    // Another user's folder, or a passing failure; the next run tries again.
  }
}
