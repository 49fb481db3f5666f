import { fileScope, startFakeGcsServer, whyMissing } from '../support/servers/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { replicaClientSuite } from '../../src/testing/index.ts';
import { createGsClient } from '../../src/storage/providers/gs/index.ts';
import { checkedLogger, guarded } from '../support/guarded.ts';

const unavailable = whyMissing('fake-gcs-server');
const server = unavailable === undefined ? await startFakeGcsServer(fileScope()) : undefined;
let buckets = 0;

/** What is in the way of a test is an error here, not a fault of the client. */
async function ask(method: string, target: string, body?: Uint8Array | string): Promise<unknown> {
  const url = `http://${server?.emulatorHost}${target}`;
  const headers = { 'content-type': 'application/json' };
  const init = body === undefined ? { method } : { method, headers, body: Buffer.from(body) };
  const answer = await fetch(url, init);
  if (!answer.ok) throw new Error(`${method} ${target}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

replicaClientSuite(
  'fake-gcs-server',
  async () => {
    buckets += 1;
    const bucket = `suite-${buckets}`;
    await ask('POST', '/storage/v1/b?project=p', JSON.stringify({ name: bucket }));
    const environment = { STORAGE_EMULATOR_HOST: server?.emulatorHost };
    const files = { clock: systemClock, fileSystem: nodeFileSystem };
    const ports = { ...files, environment, logger: checkedLogger() };
    return {
      open: (path) => Promise.resolve(guarded(createGsClient({ type: 'gs', bucket, path }, ports))),
      async putForeign(path, level, name, bytes) {
        const key = encodeURIComponent(`${path}/ltx/${level}/${name}`);
        await ask('POST', `/upload/storage/v1/b/${bucket}/o?uploadType=media&name=${key}`, bytes);
      },
      async keys() {
        const page = (await ask('GET', `/storage/v1/b/${bucket}/o`)) as {
          items?: { name: string }[];
        };
        return (page.items ?? []).map(({ name }) => name);
      },
      dispose: () => Promise.resolve(),
    };
  },
  { unavailable },
);
