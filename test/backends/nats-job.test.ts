import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { startNatsServer } from '../support/servers/index.ts';
import { natsLocation } from './nats-location.ts';
import { remoteJobTests } from './remote-job.ts';
import { openReplica } from '../support/guarded.ts';

remoteJobTests('nats', async (t) => {
  const nats = await startNatsServer(t);
  if (nats === undefined) return undefined;
  const { server, url, bucket } = nats;
  return {
    server,
    replica: { url: `${url}/${bucket}`, 'reconnect-wait': '200ms' },
    open: () =>
      openReplica(natsLocation(url, bucket), { clock: systemClock, fileSystem: nodeFileSystem }),
  };
});
