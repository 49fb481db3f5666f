import type { TestContext } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { startApache, startWsgidav, type WebdavServer } from '../support/servers/index.ts';
import { type JobStore, remoteJobTests } from './remote-job.ts';
import { openReplica } from '../support/guarded.ts';

type Start = (t: TestContext) => Promise<WebdavServer | undefined>;

function jobStore(start: Start): (t: TestContext) => Promise<JobStore | undefined> {
  return async (t) => {
    const dav = await start(t);
    if (dav === undefined) return undefined;
    const { server, url, username, password } = dav;
    const location = { type: 'webdav', url, username, password, path: '/some/path' } as const;
    return {
      server,
      replica: {
        type: 'webdav',
        'webdav-url': url,
        'webdav-username': username,
        'webdav-password': password,
        path: location.path,
      },
      open: () => openReplica(location, { clock: systemClock, fileSystem: nodeFileSystem }),
    };
  };
}

remoteJobTests(
  'webdav on Apache with Digest',
  jobStore((t) => startApache(t, { auth: 'Digest' })),
);
remoteJobTests('webdav on WsgiDAV', jobStore(startWsgidav));
