import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { startFakeGcsServer } from '../support/servers/index.ts';
import { remoteJobTests } from './remote-job.ts';
import { openReplica } from '../support/guarded.ts';

remoteJobTests('gs', async (t) => {
  const running = await startFakeGcsServer(t);
  if (running === undefined) return undefined;
  const { server, emulatorHost, bucket } = running;
  const replica = { type: 'gs', bucket, path: 'some/path' } as const;
  const env = { STORAGE_EMULATOR_HOST: emulatorHost };
  const ports = { clock: systemClock, fileSystem: nodeFileSystem, environment: env };
  return { server, replica, env, open: () => openReplica(replica, ports) };
});
