import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import * as https from 'node:https';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { makeCertificates } from '../../../../test/support/certificates.ts';
import { FakeS3, s3Location } from '../../../../test/support/fake-s3/index.ts';
import { FaultProxy, first } from '../../../../test/support/servers/index.ts';
import { systemClock } from '../../../lib/clock.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { fileKey, listAll, ltxLike } from '../../../testing/index.ts';
import type { ReplicaClient, ReplicaClientOptions } from '../../index.ts';
import type { S3Location } from '../../locations.ts';
import { bytesSource } from '../../sources.ts';
import { readAll } from '../../streams.ts';
import { openReplica } from '../../../../test/support/guarded.ts';

const KEY = fileKey(0, 1);
const SIZE = 3_000_000;

interface Scene {
  readonly fake: FakeS3;
  readonly proxy: FaultProxy;
  readonly client: ReplicaClient;
}

async function open(
  t: TestContext,
  location: Partial<S3Location>,
  options: Partial<ReplicaClientOptions> = {},
): Promise<ReplicaClient> {
  const client = await openReplica(s3Location(location), {
    clock: systemClock,
    fileSystem: nodeFileSystem,
    random: () => 0.01,
    ...options,
  });
  t.after(() => client.close());
  return client;
}

/** A store behind a proxy that breaks what passes, and a client as the program has it. */
async function scene(t: TestContext): Promise<Scene> {
  const fake = await FakeS3.start(t);
  const proxy = await FaultProxy.start(t, fake.port);
  return { fake, proxy, client: await open(t, { ...fake.rules.secrets, endpoint: proxy.url }) };
}

describe('S3 and a bad network', () => {
  for (const how of ['reset', 'end'] as const) {
    it(`goes on where a download broke off (${how})`, async (t) => {
      const { client, proxy } = await scene(t);
      const bytes = ltxLike(SIZE);
      const info = await client.write(KEY, bytesSource(bytes));
      const isDownload = ({ method }: { method: string }): boolean => method === 'GET';
      proxy.fault = first(2, { kind: 'cut', bytes: 100_000, how }, isDownload);
      assert.ok(Buffer.from(await readAll(client, info)).equals(bytes));
      const starts = proxy.where('GET').map(({ headers }) => headers['range']);
      assert.deepEqual(starts, ['bytes=0-', 'bytes=100000-', 'bytes=200000-']);
    });
  }

  it('gives up a download that never gets through', async (t) => {
    const { client, proxy } = await scene(t);
    const info = await client.write(KEY, bytesSource(ltxLike(SIZE)));
    proxy.fault = () => ({ kind: 'cut', bytes: 1000, how: 'end' });
    await assert.rejects(readAll(client, info), /max retries exceeded reading ltx file/);
    assert.equal(proxy.where('GET').length, 4);
  });

  it('sends an upload again that broke off on the way', async (t) => {
    const { client, proxy, fake } = await scene(t);
    const bytes = ltxLike(600_000);
    proxy.fault = first(2, { kind: 'cut-upload', bytes: 100_000 });
    await client.write(KEY, bytesSource(bytes));
    assert.equal(fake.objects.size, 1);
    assert.ok([...fake.objects.values()][0]?.bytes.equals(bytes));
    assert.equal(proxy.where('PUT').length, 3);
  });

  it('does not replace what it has stored itself when the answer was lost', async (t) => {
    const { client, proxy, fake } = await scene(t);
    await client.write(fileKey(0, 9), bytesSource(ltxLike(100)), { ifAbsent: true });
    proxy.fault = first(1, { kind: 'lose-answer' });
    // The engine compares: the bytes are its own.
    await assert.rejects(client.write(KEY, bytesSource(ltxLike(100)), { ifAbsent: true }), {
      code: 'ERR_STORAGE_EXISTS',
    });
    assert.equal(fake.objects.size, 2);
    proxy.fault = first(1, { kind: 'lose-answer' });
    await client.delete([KEY]);
    assert.equal(fake.objects.size, 1);
  });

  it('BKD-06 takes a listing that is cut off for no listing', async (t) => {
    const { client, proxy } = await scene(t);
    for (let txid = 1; txid <= 5; txid++) {
      await client.write(fileKey(0, txid), bytesSource(ltxLike(100)));
    }
    for (const how of ['reset', 'end'] as const) {
      proxy.fault = first(2, { kind: 'cut', bytes: 300, how });
      assert.equal((await listAll(client, 0)).length, 5);
    }
  });

  it('reaches stores through a proxy of the environment, byte for byte', async (t) => {
    const fake = await FakeS3.start(t);
    const proxy = await FaultProxy.start(t, fake.port);
    const environment = { HTTP_PROXY: proxy.url };
    const client = await open(
      t,
      { ...fake.rules.secrets, endpoint: 'http://s3.store.invalid', path: '.' },
      { environment },
    );
    await client.write(KEY, bytesSource(ltxLike(100)));
    const keys = ['./0000/0000000000000001-0000000000000001.ltx'];
    assert.deepEqual([...fake.objects.keys()], keys);
    assert.equal(fake.requests[0]?.headers['host'], 'testbucket.s3.store.invalid');
  });
});

/** The fake store with TLS in front of it. */
async function withTls(t: TestContext, fake: FakeS3, cert: string, key: string): Promise<number> {
  const server = https.createServer({ cert, key }, (request, response) => {
    const { method, url, rawHeaders: headers } = request;
    const onward = httpRequest({ host: '127.0.0.1', port: fake.port, method, path: url, headers });
    onward.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers);
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('S3 and certificates', () => {
  it('BKD-21 trusts the authorities in AWS_CA_BUNDLE beside the known ones', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'litestream-tls-'));
    t.after(() => {
      rmSync(folder, { recursive: true });
    });
    const files = await makeCertificates(folder);
    if (files === undefined) {
      t.skip('openssl: not installed');
      return;
    }
    const fake = await FakeS3.start(t);
    const cert = readFileSync(files.serverCert, 'utf8');
    const port = await withTls(t, fake, cert, readFileSync(files.serverKey, 'utf8'));
    const secure = { ...fake.rules.secrets, endpoint: `https://localhost:${port}` };
    const trusting = await open(t, secure, { environment: { AWS_CA_BUNDLE: files.authority } });
    await trusting.write(KEY, bytesSource(ltxLike(100)));
    assert.equal(fake.objects.size, 1);
    const careless = await open(t, { ...secure, skipVerify: true });
    assert.equal((await listAll(careless, 0)).length, 1);
    await assert.rejects(listAll(await open(t, secure), 0), /certificate/);
  });

  it('BKD-21 names a bundle that cannot be read, and needs none for plain HTTP', async (t) => {
    const fake = await FakeS3.start(t);
    const folder = mkdtempSync(join(tmpdir(), 'litestream-tls-'));
    t.after(() => {
      rmSync(folder, { recursive: true });
    });
    const missing = join(folder, 'missing.pem');
    const client = await open(
      t,
      { ...fake.rules.secrets, endpoint: fake.endpoint },
      { environment: { AWS_CA_BUNDLE: missing } },
    );
    await assert.rejects(client.init(), {
      code: 'ERR_CONFIG',
      message: new RegExp(`^s3: cannot read AWS_CA_BUNDLE "${missing}": `),
    });
    writeFileSync(missing, '');
    await listAll(client, 0);
  });
});
