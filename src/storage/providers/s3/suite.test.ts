import { FakeS3, s3Location } from '../../../../test/support/fake-s3/index.ts';
import { systemClock } from '../../../lib/clock.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { replicaClientSuite, type SuiteRemote } from '../../../testing/index.ts';
import { createS3Client } from './index.ts';
import { checkedLogger, guarded } from '../../../../test/support/guarded.ts';

/** Reversed pages of seven names: what no service should do. */
const ODD = { pageSize: 7, reverse: true } as const;

async function openRemote(rules: Parameters<typeof FakeS3.start>[1]): Promise<SuiteRemote> {
  const releases: (() => unknown)[] = [];
  const fake = await FakeS3.start({ after: (release) => void releases.push(release) }, rules);
  const { accessKeyId, secretAccessKey } = fake.rules.secrets;
  const ports = { clock: systemClock, fileSystem: nodeFileSystem, logger: checkedLogger() };
  return {
    open: (path) =>
      Promise.resolve(
        guarded(
          createS3Client(
            s3Location({ path, endpoint: fake.endpoint, accessKeyId, secretAccessKey }),
            ports,
          ),
        ),
      ),
    putForeign: (path, level, name, bytes) => {
      fake.put(`${path}/${level.toString(16).padStart(4, '0')}/${name}`, bytes);
      return Promise.resolve();
    },
    keys: () => Promise.resolve([...fake.objects.keys()]),
    dispose: () => {
      for (const release of releases) release();
      return Promise.resolve();
    },
  };
}

replicaClientSuite('s3 (strict store in memory)', () => openRemote({}), { manyFiles: 120 });
replicaClientSuite('s3 (store of odd manners)', () => openRemote(ODD), { manyFiles: 50 });
