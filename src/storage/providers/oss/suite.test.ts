import { fileScope } from '../../../../test/support/servers/index.ts';
import { OssServer } from '../../../../test/support/servers/oss-server.ts';
import { systemClock } from '../../../lib/clock.ts';
import { replicaClientSuite } from '../../../testing/index.ts';
import { createOssClient } from './index.ts';
import { checkedLogger, guarded } from '../../../../test/support/guarded.ts';

const scope = fileScope();

// The server checks every signature.
replicaClientSuite(
  'oss',
  async () => {
    const server = await OssServer.start(scope, { pageSize: 100 });
    const { bucket, endpoint, region, accessKeyId, accessKeySecret } = server;
    const keys = { accessKeyId, secretAccessKey: accessKeySecret };
    const sizes = { partSizeBytes: 1024 * 1024, concurrency: undefined };
    return {
      open: (path) =>
        Promise.resolve(
          guarded(
            createOssClient(
              { type: 'oss', bucket, path, region, endpoint, ...keys, ...sizes },
              { clock: systemClock, logger: checkedLogger() },
            ),
          ),
        ),
      putForeign(path, level, name, bytes) {
        server.put(`${path}/000${level}/${name}`, bytes);
        return Promise.resolve();
      },
      keys: () => Promise.resolve([...server.objects.keys(), ...server.uploads.keys()]),
      dispose: () => Promise.resolve(),
    };
  },
  { manyFiles: 350 },
);
