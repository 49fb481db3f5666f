import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { OssServer } from '../support/servers/oss-server.ts';
import { remoteJobTests } from './remote-job.ts';
import { openReplica } from '../support/guarded.ts';

/** The server is one of the tests: it checks every signature, of both programs. */
remoteJobTests('oss', async (t) => {
  const server = await OssServer.start(t);
  const { bucket, endpoint, region, accessKeyId, accessKeySecret } = server;
  const place = { type: 'oss', bucket, path: 'some/path', endpoint, region } as const;
  const location = {
    ...place,
    accessKeyId,
    secretAccessKey: accessKeySecret,
    partSizeBytes: undefined,
    concurrency: undefined,
  };
  return {
    server,
    replica: { ...place, 'access-key-id': accessKeyId, 'secret-access-key': accessKeySecret },
    open: () => openReplica(location, { clock: systemClock, fileSystem: nodeFileSystem }),
  };
});
