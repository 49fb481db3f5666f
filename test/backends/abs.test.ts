import { StorageSharedKeyCredential, BlobServiceClient } from '@azure/storage-blob';
import { systemClock } from '../../src/lib/clock.ts';
import { replicaClientSuite } from '../../src/testing/index.ts';
import { type Azurite, fileScope, startAzurite, whyMissing } from '../support/servers/index.ts';
import type { AbsLocation } from '../../src/storage/locations.ts';
import { createAbsClient } from '../../src/storage/providers/abs/index.ts';
import { checkedLogger, guarded } from '../support/guarded.ts';

const scope = fileScope();
const unavailable = whyMissing('azurite');
let shared: Promise<Azurite | undefined> | undefined;
let containers = 0;

replicaClientSuite(
  'azurite',
  async () => {
    const azurite = await (shared ??= startAzurite(scope));
    if (azurite === undefined) throw new Error('azurite: not installed');
    const { accountName, accountKey, endpoint } = azurite;
    const bucket = `suite-${++containers}`;
    const service = new BlobServiceClient(
      endpoint,
      new StorageSharedKeyCredential(accountName, accountKey),
    );
    const container = service.getContainerClient(bucket);
    await container.create();
    const location: AbsLocation = {
      type: 'abs',
      bucket,
      path: '',
      endpoint,
      accountName,
      accountKey,
      sasToken: '',
    };
    return {
      open: async (path) =>
        guarded(
          await createAbsClient(
            { ...location, path },
            { clock: systemClock, logger: checkedLogger() },
          ),
        ),
      async putForeign(path, level, name, bytes) {
        const blob = container.getBlockBlobClient(`${path}/ltx/${level}/${name}`);
        await blob.upload(bytes, bytes.length);
      },
      async keys() {
        const names: string[] = [];
        for await (const { name } of container.listBlobsFlat()) names.push(name);
        return names;
      },
      async dispose() {
        await container.delete();
      },
    };
  },
  { unavailable },
);
