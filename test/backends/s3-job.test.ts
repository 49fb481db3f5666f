import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { s3Location } from '../support/fake-s3/index.ts';
import { startVersitygw } from '../support/servers/index.ts';
import { remoteJobTests } from './remote-job.ts';
import { openReplica } from '../support/guarded.ts';

remoteJobTests('s3', async (t) => {
  const running = await startVersitygw(t);
  if (running === undefined) return undefined;
  const { server, endpoint, region, bucket, accessKeyId, secretAccessKey } = running;
  return {
    server,
    replica: {
      type: 's3',
      bucket,
      path: 'some/path',
      endpoint,
      region,
      'access-key-id': accessKeyId,
      'secret-access-key': secretAccessKey,
    },
    open: () =>
      openReplica(s3Location({ ...running, path: 'some/path' }), {
        clock: systemClock,
        fileSystem: nodeFileSystem,
      }),
  };
});
