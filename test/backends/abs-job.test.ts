import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { startAzurite } from '../support/servers/index.ts';
import { remoteJobTests } from './remote-job.ts';
import { openReplica } from '../support/guarded.ts';

remoteJobTests('abs', async (t) => {
  const azurite = await startAzurite(t);
  if (azurite === undefined) return undefined;
  const { server, endpoint, accountName, accountKey, container } = azurite;
  return {
    server,
    replica: {
      type: 'abs',
      bucket: container,
      path: 'some/path',
      endpoint,
      'account-name': accountName,
      'account-key': accountKey,
    },
    open: () =>
      openReplica(
        {
          type: 'abs',
          bucket: container,
          path: 'some/path',
          endpoint,
          accountName,
          accountKey,
          sasToken: '',
        },
        { clock: systemClock, fileSystem: nodeFileSystem },
      ),
  };
});
