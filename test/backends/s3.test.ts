import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { createS3Client } from '../../src/storage/providers/s3/index.ts';
import { replicaClientSuite, type SuiteRemote } from '../../src/testing/index.ts';
import { s3Location } from '../support/fake-s3/index.ts';
import {
  fileScope,
  type S3Server,
  startMoto,
  startVersitygw,
  whyMissing,
} from '../support/servers/index.ts';
import { allKeys, putObject } from './s3-objects.ts';
import { checkedLogger, guarded } from '../support/guarded.ts';

const scope = fileScope();

/** Each test has a folder of one bucket for itself. */
function remotes(start: () => Promise<S3Server | undefined>): () => Promise<SuiteRemote> {
  let server: Promise<S3Server | undefined> | undefined;
  let count = 0;
  return async () => {
    const running = await (server ??= start());
    if (running === undefined) throw new Error('not installed');
    return remote(running, `remote-${++count}`);
  };
}

function remote(server: S3Server, folder: string): SuiteRemote {
  const ports = { clock: systemClock, fileSystem: nodeFileSystem, logger: checkedLogger() };
  return {
    open: (path) =>
      Promise.resolve(
        guarded(createS3Client(s3Location({ ...server, path: `${folder}/${path}` }), ports)),
      ),
    putForeign: (path, level, name, bytes) =>
      putObject(server, `${folder}/${path}/${level.toString(16).padStart(4, '0')}/${name}`, bytes),
    keys: () => allKeys(server, `${folder}/`),
    dispose: () => Promise.resolve(),
  };
}

replicaClientSuite(
  's3, versitygw',
  remotes(() => startVersitygw(scope)),
  { unavailable: whyMissing('versitygw') },
);
replicaClientSuite(
  's3, moto',
  remotes(() => startMoto(scope)),
  { unavailable: whyMissing('moto'), manyFiles: 100 },
);
