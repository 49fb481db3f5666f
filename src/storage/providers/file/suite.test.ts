import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { replicaClientSuite } from '../../../testing/index.ts';
import { FileReplicaClient } from './index.ts';

replicaClientSuite('file', async () => {
  const root = await mkdtemp(join(tmpdir(), 'litestream-file-'));
  return {
    open: (path) =>
      Promise.resolve(
        new FileReplicaClient({ path: join(root, path), fileSystem: nodeFileSystem }),
      ),
    async putForeign(path, level, name, bytes) {
      const folder = join(root, path, 'ltx', String(level));
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, name), bytes);
    },
    async keys() {
      const entries = await readdir(root, { recursive: true, withFileTypes: true });
      return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    },
    dispose: () => rm(root, { recursive: true }),
  };
});
