import { chown, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  fileScope,
  startApache,
  startWsgidav,
  type WebdavServer,
  whyMissing,
} from '../support/servers/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { replicaClientSuite, type SuiteRemote } from '../../src/testing/index.ts';
import type { WebdavLocation } from '../../src/storage/locations.ts';
import { createWebdavClient } from '../../src/storage/providers/webdav/index.ts';
import { checkedLogger, guarded } from '../support/guarded.ts';

const scope = fileScope();

/** One folder on a running server for each test. */
function remotes(start: () => Promise<WebdavServer | undefined>): () => Promise<SuiteRemote> {
  let server: Promise<WebdavServer | undefined> | undefined;
  let count = 0;
  return async () => {
    const running = await (server ??= start());
    if (running === undefined) throw new Error('not installed');
    const base = `remote ${++count}`;
    await mkdir(join(running.root, base));
    await giveAway(running.root, join(running.root, base));
    return remote(running, base);
  };
}

/** As root, Apache serves as another user. */
async function giveAway(root: string, path: string): Promise<void> {
  const { uid, gid } = await stat(root);
  await chown(path, uid, gid);
}

function remote(server: WebdavServer, base: string): SuiteRemote {
  const root = join(server.root, base);
  const location = (path: string): WebdavLocation => ({
    type: 'webdav',
    url: `${server.url}/${encodeURIComponent(base)}`,
    username: server.username,
    password: server.password,
    path,
  });
  const ports = { clock: systemClock, fileSystem: nodeFileSystem, logger: checkedLogger() };
  return {
    open: (path) => Promise.resolve(guarded(createWebdavClient(location(path), ports))),
    async putForeign(path, level, name, bytes) {
      const folder = join(root, path, 'ltx', String(level));
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, name), bytes);
    },
    async keys() {
      const entries = await readdir(root, { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name));
    },
    dispose: () => Promise.resolve(),
  };
}

for (const auth of ['Basic', 'Digest'] as const) {
  replicaClientSuite(
    `webdav, Apache with ${auth}`,
    remotes(() => startApache(scope, { auth })),
    {
      unavailable: whyMissing('apache'),
      ...(auth === 'Digest' && { manyFiles: 100 }),
    },
  );
}
replicaClientSuite(
  'webdav, WsgiDAV',
  remotes(() => startWsgidav(scope)),
  {
    unavailable: whyMissing('wsgidav'),
    // It deletes the target before it moves.
    replacesWithGap: true,
    // Each takes it tens of milliseconds.
    manyFiles: 100,
  },
);
