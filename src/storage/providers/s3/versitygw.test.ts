import { readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileScope, startVersitygw, whyMissing } from '../../../../test/support/servers/index.ts';
import { systemClock } from '../../../lib/clock.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { replicaClientSuite, type SuiteRemote } from '../../../testing/index.ts';
import { createS3Client } from './index.ts';
import { s3Location } from './test-location.ts';

const unavailable = whyMissing('versitygw');
const scope = fileScope();
const starting = unavailable === undefined ? startVersitygw(scope) : undefined;
let remotes = 0;

/** Each test has a folder of one bucket for itself. */
async function openRemote(): Promise<SuiteRemote> {
  const server = await starting;
  if (server?.root === undefined) throw new Error('versitygw is not running');
  const folder = `remote-${++remotes}`;
  const root = join(server.root, folder);
  const ports = { clock: systemClock, fileSystem: nodeFileSystem };
  return {
    open: (path) =>
      Promise.resolve(createS3Client(s3Location({ ...server, path: `${folder}/${path}` }), ports)),
    async putForeign(path, level, name, bytes) {
      const file = join(root, path, level.toString(16).padStart(4, '0'), name);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, bytes);
    },
    keys: () => Promise.resolve(filesBelow(root)),
    dispose: () => Promise.resolve(),
  };
}

function filesBelow(root: string): string[] {
  try {
    const entries = readdirSync(root, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
  } catch {
    return [];
  }
}

replicaClientSuite('s3 (versitygw)', openRemote, {
  ...(unavailable !== undefined && { unavailable }),
  manyFiles: 1001,
});
