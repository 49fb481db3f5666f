/** What goes over the wire to Azure, and what comes of wrong answers. */
import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import { createServer as createHttpServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import {
  ContainerClient,
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  newPipeline,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { LitestreamError } from '../../src/lib/errors.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import {
  type AbsLocation,
  bytesSource,
  collect,
  readAll,
  type ReplicaClient,
} from '../../src/storage/index.ts';
import { AbsReplicaClient } from '../../src/storage/providers/abs/client.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../../src/testing/index.ts';
import type { Logger } from '../../src/telemetry/index.ts';
import { makeCertificates } from '../support/certificates.ts';
import {
  answers,
  type Azurite,
  FaultProxy,
  fileScope,
  first,
  freePort,
  needServer,
  startAzurite,
} from '../support/servers/index.ts';
import { tempDir } from '../support/temp-dir.ts';
import { checkedLogger, openReplica } from '../support/guarded.ts';
import { makeSecret, makeSecretKey, registerSecret } from '../support/secrets.ts';

const KEY = fileKey(0, 1);
const NAME = 'p/ltx/0/0000000000000001-0000000000000001.ltx';

/** Real time, with every wait so many times shorter. */
function hastyClock(times = 50): Clock {
  return { ...systemClock, timer: (ms, callback) => systemClock.timer(ms / times, callback) };
}

const scope = fileScope();
let shared: Promise<Azurite | undefined> | undefined;
let containers = 0;

interface Bench {
  readonly proxy: FaultProxy;
  readonly location: AbsLocation;
  readonly container: ContainerClient;
  readonly credential: StorageSharedKeyCredential;
  open(options?: OpenOptions): Promise<ReplicaClient>;
}

interface OpenOptions {
  readonly location?: Partial<AbsLocation>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly logger?: Logger;
  readonly clock?: Clock;
}

async function bench(t: TestContext): Promise<Bench | undefined> {
  if (needServer(t, 'azurite') === undefined) return undefined;
  const azurite = await (shared ??= startAzurite(scope));
  if (azurite === undefined) return undefined;
  const { port, accountName, accountKey } = azurite;
  const bucket = `requests-${++containers}`;
  const proxy = await FaultProxy.start(t, port);
  const credential = new StorageSharedKeyCredential(accountName, accountKey);
  const location: AbsLocation = {
    type: 'abs',
    bucket,
    path: 'p',
    endpoint: `${proxy.url}/${accountName}/`,
    accountName,
    accountKey,
    sasToken: '',
  };
  const container = new ContainerClient(`${azurite.endpoint}/${bucket}`, newPipeline(credential));
  await container.create();
  return {
    proxy,
    location,
    credential,
    container,
    async open({ location: other = {}, ...options } = {}) {
      const ports = { clock: hastyClock(), fileSystem: nodeFileSystem, ...options };
      const client = await openReplica({ ...location, ...other }, ports);
      t.after(() => client.close());
      return client;
    },
  };
}

function recorded(lines: string[]): Logger {
  return checkedLogger((level, message) => {
    lines.push(`${level} ${message}`);
  });
}

const temporary = { code: 'ERR_STORAGE_TEMPORARY', retryable: true };

test('sends the timestamp, the type and the tier, under its own name', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open();
  await client.write(KEY, bytesSource(ltxLike(1000, 1_767_323_045_670)));
  const [put, ...more] = it.proxy.where('PUT');
  assert.equal(more.length, 0, 'one request');
  assert.partialDeepStrictEqual(put?.headers, {
    'x-ms-meta-litestreamtimestamp': '2026-01-02T03:04:05.67Z',
    'x-ms-blob-content-type': 'application/octet-stream',
    'x-ms-access-tier': 'Hot',
    'content-length': '1000',
  });
  assert.match(put?.headers['user-agent'] ?? '', /^litestream azsdk-js-azure-storage-blob\//);
});

test('an account without tiers gets none', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  it.proxy.fault = ({ headers }) =>
    headers['x-ms-access-tier'] === undefined
      ? undefined
      : {
          kind: 'answer',
          status: 400,
          headers: { 'x-ms-error-code': 'AccessTierNotSupportedForBlobType' },
        };
  const client = await it.open();
  await client.write(KEY, bytesSource(ltxLike(1000)));
  await client.write(fileKey(0, 2), bytesSource(ltxLike(1000)));
  assert.equal(it.proxy.where('PUT').length, 3, 'asked once');
  assert.equal((await listAll(client, 0)).length, 2);
});

test('BKD-23 throttling is waited for, as long as the server asks', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open();
  it.proxy.fault = answers(5, 429, { headers: { 'retry-after': '2' } });
  await client.write(KEY, bytesSource(ltxLike(1000)));
  const puts = it.proxy.where('PUT');
  assert.equal(puts.length, 6);
  for (const [n, { at }] of puts.entries()) {
    // Two seconds are forty milliseconds on this clock.
    if (n > 0) assert.ok(at - (puts[n - 1]?.at ?? 0) >= 35, 'not before');
  }
  for (const status of [408, 500, 502, 503, 504]) {
    it.proxy.fault = answers(2, status);
    assert.equal((await listAll(client, 0)).length, 1, `${status}`);
  }
});

test('BKD-23 an endless 503 ends, and the error names the status and the object', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open();
  it.proxy.fault = () => ({ kind: 'answer', status: 503 });
  await assert.rejects(client.write(KEY, bytesSource(ltxLike(1000))), {
    ...temporary,
    message: new RegExp(`^abs: cannot upload ltx file "${NAME}": gave up after 10 attempts .*503`),
  });
  it.proxy.fault = undefined;
  await client.write(KEY, bytesSource(ltxLike(1000)));
});

test('a file of several blocks survives broken requests', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open();
  const bytes = ltxLike((20 << 20) + 5);
  it.proxy.fault = first(2, { kind: 'cut-upload', bytes: 1 << 20 }, ({ target }) =>
    target.includes('comp=block&'),
  );
  const { size } = await client.write(KEY, chunkedSource(bytes, 100_000));
  assert.equal(size, bytes.length);
  const blocks = it.proxy.where('PUT', /comp=block&/).filter(({ status }) => status === 201);
  const sizes = blocks.map(({ headers }) => Number(headers['content-length']));
  assert.deepEqual(
    sizes.toSorted((a, b) => a - b),
    [(4 << 20) | 5, 8 << 20, 8 << 20],
  );
  assert.ok(Buffer.from(bytes).equals(await readAll(client, KEY)));
  const [list, ...more] = it.proxy.where('PUT', /comp=blocklist/);
  assert.equal(more.length, 0);
  assert.ok(list?.headers['x-ms-meta-litestreamtimestamp'] !== undefined);
});

test('a source that fails behind the first block leaves nothing that is seen', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open();
  const bytes = ltxLike(12 << 20);
  const source = {
    size: 30 << 20,
    async *stream() {
      yield bytes;
      await Promise.resolve();
      throw new Error('source broke');
    },
  };
  await assert.rejects(client.write(KEY, source), /source broke/);
  assert.deepEqual(await listAll(client, 0), []);
  assert.equal(it.proxy.where('PUT', /comp=blocklist/).length, 0);
});

test('creates a blob only if there is none, small and large, and notices a lost answer', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open();
  const exists = { code: 'ERR_STORAGE_EXISTS' };
  const only = { ifAbsent: true };
  for (const [txid, size] of [
    [1, 1000],
    [2, 9 << 20],
  ] as const) {
    const key = fileKey(0, txid);
    await client.write(key, bytesSource(ltxLike(size, 1, 1)), only);
    await assert.rejects(client.write(key, bytesSource(ltxLike(size, 1, 2)), only), exists);
    assert.deepEqual((await readAll(client, key))[200], ltxLike(300, 1, 1)[200]);
    await client.delete([key]);
    await client.write(key, bytesSource(ltxLike(size)), only);
  }
  it.proxy.fault = first(1, { kind: 'lose-answer' }, ({ method }) => method === 'PUT');
  // The engine compares what is there with what it has.
  await assert.rejects(client.write(fileKey(0, 3), bytesSource(ltxLike(500)), only), exists);
  assert.deepEqual(await readAll(client, fileKey(0, 3)), ltxLike(500));
});

test('BKD-09 takes the time from the LTX header where a copy has lost its metadata', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const lines: string[] = [];
  const client = await it.open({ logger: recorded(lines) });
  const bytes = ltxLike(500, 1_600_000_000_123);
  await it.container.getBlockBlobClient(NAME).upload(bytes, bytes.length);
  // As a library that capitalises names of metadata writes it.
  await it.container.getBlockBlobClient(NAME.replaceAll('1', '2')).upload(bytes, bytes.length, {
    metadata: { LitestreamTimestamp: '2026-01-02T03:04:05+01:00' },
  });
  assert.deepEqual(
    (await listAll(client, 0)).map(({ createdAt }) => createdAt),
    [1_600_000_000_123, 1_767_319_445_000],
  );
  await listAll(client, 0);
  const told = lines.filter((line) => line.startsWith('warn'));
  assert.deepEqual(told, ['warn object has no timestamp, reading it from the ltx header']);
});

test('follows every page of a listing, and goes on with the page that failed', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open();
  for (let txid = 1; txid <= 7; txid += 1) {
    await client.write(fileKey(0, txid), bytesSource(ltxLike(100)));
  }
  const paged = new AbsReplicaClient({
    container: new ContainerClient(
      `${it.location.endpoint}${it.location.bucket}`,
      newPipeline(it.credential, { retryOptions: { maxTries: 1 } }),
    ),
    address: 'test',
    path: 'p',
    clock: hastyClock(),
    random: Math.random,
    pageSize: 2,
  });
  t.after(() => paged.close());
  it.proxy.fault = first(2, { kind: 'answer', status: 503 }, ({ target }) =>
    target.includes('marker='),
  );
  const txids = (await listAll(paged, 0)).map(({ minTxid }) => Number(minTxid));
  assert.deepEqual(txids, [1, 2, 3, 4, 5, 6, 7]);
  await paged.deleteAll();
  assert.deepEqual(await listAll(client, 0), []);
});

test('a SAS token from settings or environment beats the key and appears in no error', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const sas = generateBlobSASQueryParameters(
    {
      containerName: it.location.bucket,
      permissions: ContainerSASPermissions.parse('rl'),
      expiresOn: new Date(Date.now() + 3_600_000),
    },
    it.credential,
  ).toString();
  registerSecret('SAS signature', new URLSearchParams(sas).get('sig') ?? '');
  const full = await it.open();
  await full.write(KEY, bytesSource(ltxLike(500)));
  const lines: string[] = [];
  const reader = await it.open({ location: { sasToken: sas }, logger: recorded(lines) });
  assert.ok(lines.includes('warn both SAS token and account key configured, using SAS token'));
  const before = it.proxy.exchanges.length;
  assert.deepEqual(await readAll(reader, KEY), ltxLike(500));
  const environment = { LITESTREAM_AZURE_SAS_TOKEN: `?${sas}` };
  const other = await it.open({ location: { accountKey: '' }, environment });
  assert.equal((await listAll(other, 0)).length, 1);
  for (const { target, headers } of it.proxy.exchanges.slice(before)) {
    assert.match(target, /sig=/);
    assert.equal(headers['authorization'], undefined);
  }
  await assert.rejects(reader.write(fileKey(0, 2), bytesSource(ltxLike(500))), (error) => {
    assert.ok(error instanceof LitestreamError);
    assert.equal(error.code, 'ERR_STORAGE_DENIED');
    assert.match(error.message, /^abs: cannot upload ltx file .*Authorization\w+ \(HTTP 403\)/);
    const shown = JSON.stringify([error, error.message, error.stack, error.details, error.cause]);
    assert.doesNotMatch(shown, /sig=/);
    return true;
  });
  assert.doesNotMatch(lines.join('\n'), /sig=/);
});

test('a wrong key is refused at once, without the key in the error', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const accountKey = makeSecretKey('wrong account key', 64);
  const client = await it.open({ location: { accountKey } });
  await assert.rejects(listAll(client, 0), (error) => {
    assert.ok(error instanceof LitestreamError);
    assert.equal(error.code, 'ERR_STORAGE_DENIED');
    assert.match(error.message, /^abs: cannot list blobs: Auth\w+ \(HTTP 403\)/);
    assert.ok(error.hint !== undefined);
    assert.ok(!JSON.stringify([error, error.message, error.stack]).includes(accountKey));
    return true;
  });
  assert.equal(it.proxy.exchanges.length, 1);
  await assert.rejects(
    it.open({ location: { accountKey: makeSecret('broken account key', 'not base64!') } }),
    {
      code: 'ERR_STORAGE_URL',
      message: /^abs: cannot create shared key credential: /,
    },
  );
});

test('settings that cannot work are refused before anything is asked', async () => {
  const base = { type: 'abs', path: '', endpoint: '', accountKey: '', sasToken: '' } as const;
  const ports = { clock: systemClock, fileSystem: nodeFileSystem };
  await assert.rejects(openReplica({ ...base, bucket: 'b', accountName: '' }, ports), {
    code: 'ERR_STORAGE_URL',
    message: 'abs: account name is required when endpoint is not specified',
  });
  await assert.rejects(openReplica({ ...base, bucket: '', accountName: 'a' }, ports), {
    message: 'abs: container name is required',
  });
});

test('a missing container is an error for a listing and nothing for a read', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open({ location: { bucket: 'nosuch' } });
  await assert.rejects(listAll(client, 0), {
    code: 'ERR_STORAGE',
    message: /^abs: cannot list blobs: ContainerNotFound/,
    hint: /create the container/,
  });
  await assert.rejects(readAll(client, KEY), { code: 'ERR_STORAGE_NOT_FOUND' });
  await client.delete([KEY]);
});

test('lists and reads what v0.3.x has left', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const name = 'generations/0123456789abcdef/snapshots/00000000.snapshot.lz4';
  for (const path of ['p', '.']) {
    const full = path === '.' ? name : `${path}/${name}`;
    await it.container.getBlockBlobClient(full).upload('hello', 5);
    const client = await it.open({ location: { path } });
    assert.ok(client.listObjects !== undefined && client.readObject !== undefined);
    const found = [];
    for await (const object of client.listObjects('generations')) found.push(object);
    assert.deepEqual(
      found.map(({ key, size }) => [key, size]),
      [[name, 5]],
    );
    const [object] = found;
    assert.ok(object !== undefined);
    assert.equal(Buffer.from(await collect(client.readObject(object))).toString(), 'hello');
  }
});

test('without a path only what a replica has stored is deleted', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  await it.container.getBlockBlobClient('other/file').upload('x', 1);
  const client = await it.open({ location: { path: '.' } });
  await client.write(KEY, bytesSource(ltxLike(500)));
  await client.deleteAll();
  const names = [];
  for await (const { name } of it.container.listBlobsFlat()) names.push(name);
  assert.deepEqual(names, ['other/file']);
});

test('a server that says nothing is given up; an abort and a close do not wait', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const client = await it.open({ clock: hastyClock(500) });
  it.proxy.fault = () => ({ kind: 'silence' });
  await assert.rejects(listAll(client, 0), { ...temporary, message: /no answer for 30 s/ });
  const stop = new AbortController();
  const aborted = client.write(KEY, bytesSource(ltxLike(500)), { signal: stop.signal });
  stop.abort();
  await assert.rejects(aborted, { code: 'ERR_ABORTED' });
  const closed = client.write(KEY, bytesSource(ltxLike(500)));
  const outcome = assert.rejects(closed, { code: 'ERR_ABORTED' });
  await client.close();
  await outcome;
});

test('nobody at the endpoint: temporary, with the address', async (t) => {
  const it = await bench(t);
  if (it === undefined) return;
  const endpoint = `http://127.0.0.1:${await freePort()}/account`;
  const client = await it.open({ location: { endpoint } });
  await assert.rejects(listAll(client, 0), { ...temporary, message: /ECONNREFUSED 127\.0\.0\.1/ });
});

test('without key and token: a managed identity, from the metadata service of the machine', async (t) => {
  const files = await makeCertificates(tempDir(t));
  if (files === undefined) {
    t.skip('openssl: not installed');
    return;
  }
  const token = makeSecret('access token');
  const header = makeSecret('identity header');
  const asked: string[] = [];
  const metadata = createHttpServer((request, response) => {
    asked.push(`${request.url} ${String(request.headers['x-identity-header'])}`);
    response.setHeader('content-type', 'application/json');
    const expires = Math.floor(Date.now() / 1000) + 3600;
    response.end(
      JSON.stringify({
        access_token: token,
        expires_on: String(expires),
        token_type: 'Bearer',
      }),
    );
  });
  const authorizations: (string | undefined)[] = [];
  const [cert, key, ca] = await Promise.all(
    [files.serverCert, files.serverKey, files.authority].map((path) => readFile(path, 'utf8')),
  );
  const service = createServer({ cert: cert ?? '', key: key ?? '' }, (request, response) => {
    authorizations.push(request.headers.authorization);
    response.setHeader('content-type', 'application/xml');
    response.end(
      '<?xml version="1.0"?><EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>',
    );
  });
  const port = async (server: typeof metadata | typeof service): Promise<number> => {
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    t.after(() => server.close());
    return (server.address() as AddressInfo).port;
  };
  const roots = getCACertificates();
  setDefaultCACertificates([...roots, ca ?? '']);
  process.env['IDENTITY_ENDPOINT'] = `http://127.0.0.1:${await port(metadata)}/msi/token`;
  process.env['IDENTITY_HEADER'] = header;
  t.after(() => {
    setDefaultCACertificates(roots);
    delete process.env['IDENTITY_ENDPOINT'];
    delete process.env['IDENTITY_HEADER'];
  });
  const client = await openReplica(
    {
      type: 'abs',
      bucket: 'box',
      path: 'p',
      endpoint: `https://127.0.0.1:${await port(service)}`,
      accountName: 'account',
      accountKey: '',
      sasToken: '',
    },
    { clock: systemClock, fileSystem: nodeFileSystem },
  );
  t.after(() => client.close());
  assert.deepEqual(await listAll(client, 0), []);
  assert.deepEqual(await listAll(client, 1), []);
  assert.deepEqual(authorizations, [`Bearer ${token}`, `Bearer ${token}`]);
  assert.equal(asked.length, 1, 'a token is used until it expires');
  assert.match(asked[0] ?? '', /resource=https.*storage\.azure\.com.* /);
  assert.ok(asked[0]?.endsWith(` ${header}`), 'with what the machine gave');
});
