import { mkdtempSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileScope, startSshd, whyMissing } from '../support/servers/index.ts';
import { present } from '../../src/lib/assert.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { replicaClientSuite } from '../../src/testing/index.ts';
import { createSftpClient } from '../../src/storage/providers/sftp/index.ts';
import { sftpLocation } from '../support/servers/sftp-location.ts';
import { checkedLogger, guarded } from '../support/guarded.ts';

const unavailable = whyMissing('sshd');
const scope = fileScope();
const server = unavailable === undefined ? await startSshd(scope) : undefined;

replicaClientSuite(
  'sshd',
  () => {
    const sshd = present(server, 'sshd');
    const root = mkdtempSync(join(sshd.root, 'suite-'));
    return Promise.resolve({
      open: (path) =>
        Promise.resolve(
          guarded(
            createSftpClient(sftpLocation(sshd, { path: `${root}/${path}` }), {
              clock: systemClock,
              logger: checkedLogger(),
            }),
          ),
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
    });
  },
  { times: 's', unavailable },
);
