import assert from 'node:assert/strict';
import { generateKeyPairSync, verify } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import { GcsServer } from '../../../../test/support/servers/gcs-server.ts';
import { answers, first } from '../../../../test/support/servers/index.ts';
import { tempDir } from '../../../../test/support/temp-dir.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { LitestreamError } from '../../../lib/errors.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { fileKey, listAll, ltxLike } from '../../../testing/index.ts';
import type { ReplicaClient } from '../../contract.ts';
import { bytesSource } from '../../sources.ts';
import { createGsClient } from './index.ts';
import { checkedLogger, guarded } from '../../../../test/support/guarded.ts';
import { makeSecret, registerSecret } from '../../../../test/support/secrets.ts';

const { privateKey, publicKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});
const ACCOUNT = 'replicator@project.iam.gserviceaccount.com';

registerSecret('private key of an account', privateKey);

/** A token server. Knows a service account by its signature, and workloads by what their platform says of them. */
interface TokenServer {
  readonly port: number;
  /** Tokens that were given away, in order. */
  readonly given: string[];
  /** Statuses of the next answers instead of tokens. */
  readonly failures: number[];
  /** What workloads have shown. */
  readonly subjects: string[];
  /** Lifetime of the next tokens in seconds. */
  lifetime: number;
}

/** The claims of an assertion that the account's key has signed; undefined for any other. */
function claimsOf(assertion: string): Readonly<Record<string, unknown>> | undefined {
  const [head = '', claims = '', signature = ''] = assertion.split('.');
  const signed = Buffer.from(`${head}.${claims}`);
  if (!verify('RSA-SHA256', signed, publicKey, Buffer.from(signature, 'base64url')))
    return undefined;
  return JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>;
}

async function startTokenServer(t: TestContext, store: GcsServer): Promise<TokenServer> {
  const given: string[] = [];
  const failures: number[] = [];
  const subjects: string[] = [];
  const state = { lifetime: 3600 };
  const accepts = (form: URLSearchParams): boolean => {
    const subject = form.get('subject_token');
    if (subject !== null) {
      subjects.push(subject);
      return subject.startsWith('proof-');
    }
    const claims = claimsOf(form.get('assertion') ?? '');
    const scope = 'https://www.googleapis.com/auth/devstorage.read_write';
    return claims?.['iss'] === ACCOUNT && claims['scope'] === scope;
  };
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const failure = failures.shift();
      const refused = failure ?? (accepts(new URLSearchParams(body)) ? 200 : 400);
      response.setHeader('content-type', 'application/json');
      response.statusCode = refused;
      if (refused !== 200) {
        response.end(JSON.stringify({ error: 'invalid_grant', error_description: 'unknown' }));
        return;
      }
      const token = makeSecret('token of an account');
      given.push(token);
      store.tokens.add(token);
      const facts = { token_type: 'Bearer', issued_token_type: 'x' };
      response.end(JSON.stringify({ access_token: token, expires_in: state.lifetime, ...facts }));
    });
  });
  const port = await listen(t, server);
  return Object.assign(state, { port, given, failures, subjects });
}

/** Returns the port. */
async function listen(t: TestContext, server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(
    () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  );
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

interface Bench {
  readonly store: GcsServer;
  readonly tokens: TokenServer;
  readonly folder: string;
  /** A client with this file of credentials. */
  readonly open: (credentials: unknown) => ReplicaClient;
}

async function makeBench(t: TestContext): Promise<Bench> {
  const store = await GcsServer.start(t);
  const tokens = await startTokenServer(t, store);
  const folder = tempDir(t);
  // The library looks for some kinds of files by itself.
  process.env['GOOGLE_APPLICATION_CREDENTIALS'] = join(folder, 'credentials.json');
  t.after(() => delete process.env['GOOGLE_APPLICATION_CREDENTIALS']);
  // Google's hosts are reached here.
  const local: typeof fetch = (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    assert.match(url.hostname, /\.googleapis\.com$/);
    return fetch(`http://127.0.0.1:${tokens.port}${url.pathname}`, init);
  };
  return {
    store,
    tokens,
    folder,
    open(credentials) {
      const path = join(folder, 'credentials.json');
      const content = typeof credentials === 'string' ? credentials : JSON.stringify(credentials);
      writeFileSync(path, content);
      const client = createGsClient(
        { type: 'gs', bucket: store.bucket, path: 'p' },
        {
          clock: systemClock,
          fileSystem: nodeFileSystem,
          environment: { GOOGLE_APPLICATION_CREDENTIALS: path },
          random: () => 0,
          server: { protocol: 'http:', host: '127.0.0.1', port: store.proxy.port },
          fetch: local,
          logger: checkedLogger(),
        },
      );
      t.after(() => client.close());
      return guarded(client);
    },
  };
}

function serviceAccount(key: string = privateKey): object {
  return {
    type: 'service_account',
    project_id: 'project',
    private_key_id: 'key-1',
    private_key: key,
    client_email: ACCOUNT,
    client_id: '1',
    token_uri: 'https://oauth2.googleapis.com/token',
  };
}

async function failureOf(work: Promise<unknown>): Promise<LitestreamError> {
  try {
    await work;
  } catch (error) {
    return error as LitestreamError;
  }
  return assert.fail('it worked');
}

/** Everything that an error would show. */
function shown(error: unknown): string {
  const parts: unknown[] = [];
  for (let at = error; at instanceof Error; at = at.cause) {
    parts.push(at.message, 'hint' in at ? at.hint : '', 'details' in at ? at.details : '');
  }
  return JSON.stringify(parts);
}

describe('credentials of Google Cloud Storage', () => {
  it('of a service account become a token that serves many requests', async (t) => {
    const { store, tokens, open } = await makeBench(t);
    const client = open(serviceAccount());
    await client.init();
    await client.write(fileKey(0, 1), bytesSource(ltxLike(300)));
    await client.write(fileKey(0, 2), bytesSource(ltxLike(9 * 1024 * 1024)));
    assert.equal((await listAll(client, 0)).length, 2);
    assert.equal(tokens.given.length, 1);
    for (const { target, headers } of store.proxy.exchanges) {
      const secret = target.includes('upload_id=') ? undefined : `Bearer ${tokens.given[0]}`;
      assert.equal(headers['authorization'], secret, target);
    }
  });

  it('are asked for anew when the store refuses the token, once per request (BKD-12)', async (t) => {
    const { store, tokens, open } = await makeBench(t);
    const client = open(serviceAccount());
    await listAll(client, 0);
    store.tokens.clear();
    await client.write(fileKey(0, 1), bytesSource(ltxLike(300)));
    assert.equal(tokens.given.length, 2);
    store.proxy.fault = answers(1000, 401);
    const error = await failureOf(listAll(client, 0));
    assert.equal(error.code, 'ERR_STORAGE_DENIED');
    assert.equal(tokens.given.length, 3);
  });

  it('are asked for before the token ends (BKD-12)', async (t) => {
    const { tokens, open } = await makeBench(t);
    tokens.lifetime = 60;
    const client = open(serviceAccount());
    await listAll(client, 0);
    await listAll(client, 0);
    assert.equal(tokens.given.length, 2, 'less than five minutes are left');
  });

  it('of a workload are read again for every token (BKD-12)', async (t) => {
    const { folder, store, tokens, open } = await makeBench(t);
    const file = join(folder, 'subject');
    const proofs = ['proof-1-', 'proof-2-'].map((start) => makeSecret('proof', start));
    writeFileSync(file, proofs[0] ?? '');
    const client = open({
      type: 'external_account',
      audience:
        '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: `http://127.0.0.1:${tokens.port}/v1/token`,
      credential_source: { file },
    });
    await listAll(client, 0);
    writeFileSync(file, proofs[1] ?? '');
    store.tokens.clear();
    await listAll(client, 0);
    assert.deepEqual(tokens.subjects, proofs);
  });

  it('of a machine in the cloud come from its metadata server (BKD-12)', async (t) => {
    const { store } = await makeBench(t);
    delete process.env['GOOGLE_APPLICATION_CREDENTIALS'];
    const asked: string[] = [];
    const metadata = createServer(({ url = '', headers }, response) => {
      response.setHeader('metadata-flavor', 'Google');
      if (headers['metadata-flavor'] !== 'Google') {
        response.writeHead(403).end();
        return;
      }
      asked.push(url);
      if (!url.includes('/service-accounts/default/token')) {
        response.end('{}');
        return;
      }
      const token = makeSecret('token of a machine');
      store.tokens.add(token);
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ access_token: token, expires_in: 3600, token_type: 'Bearer' }));
    });
    const port = await listen(t, metadata);
    const home = process.env['HOME'];
    Object.assign(process.env, {
      GCE_METADATA_HOST: `127.0.0.1:${port}`,
      METADATA_SERVER_DETECTION: 'assume-present',
      // No file of gcloud's.
      HOME: tempDir(t),
    });
    t.after(() => {
      delete process.env['GCE_METADATA_HOST'];
      delete process.env['METADATA_SERVER_DETECTION'];
      if (home !== undefined) process.env['HOME'] = home;
    });
    const client = createGsClient(
      { type: 'gs', bucket: store.bucket, path: 'p' },
      {
        clock: systemClock,
        fileSystem: nodeFileSystem,
        environment: {},
        random: () => 0,
        server: { protocol: 'http:', host: '127.0.0.1', port: store.proxy.port },
        logger: checkedLogger(),
      },
    );
    t.after(() => client.close());
    await client.write(fileKey(0, 1), bytesSource(ltxLike(300)));
    assert.equal((await listAll(client, 0)).length, 1);
    const tokens = (): string[] => asked.filter((url) => url.includes('/token'));
    assert.equal(tokens().length, 1, asked.join(' '));
    assert.match(
      tokens()[0] ?? '',
      /^\/computeMetadata\/v1\/instance\/service-accounts\/default\/token/,
    );
    store.tokens.clear();
    assert.equal((await listAll(client, 0)).length, 1);
    assert.equal(tokens().length, 2, 'a token that is refused is asked for anew');
  });

  it('that nobody can have now may be had later', async (t) => {
    const { tokens, open } = await makeBench(t);
    const client = open(serviceAccount());
    tokens.failures.push(...Array<number>(1000).fill(503));
    const error = await failureOf(client.init());
    assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
    assert.equal(error.retryable, true);
    assert.match(error.message, /^failed to create GCS client \(bucket: testbucket\): /);
    tokens.failures.length = 0;
    await client.init();
  });

  it('that are refused or missing say so, and nothing secret', async (t) => {
    const { folder, open } = await makeBench(t);
    const { privateKey: strange } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    });
    const cases: readonly (readonly [unknown, RegExp])[] = [
      [serviceAccount(strange), /invalid_grant/],
      [serviceAccount('-----BEGIN PRIVATE KEY-----\nhidden\n'), /./],
      ['{"private_key": "hidden', /credentials\.json: not JSON/],
      ['"hidden"', /credentials\.json: no JSON object with a type/],
      [{ type: 'nothing-known', private_key: 'hidden' }, /./],
    ];
    for (const [credentials, message] of cases) {
      const client = open(credentials);
      for (const work of [() => client.init(), () => listAll(client, 0)]) {
        const error = await failureOf(work());
        assert.equal(error.code, 'ERR_STORAGE_DENIED', error.message);
        assert.match(error.message, /failed to create GCS client \(bucket: testbucket\): /);
        assert.match(error.message, message);
        assert.match(error.hint ?? '', /GOOGLE_APPLICATION_CREDENTIALS/);
        const secrets = ['hidden', strange.slice(40, 80), privateKey.slice(40, 80)];
        for (const secret of secrets) assert.ok(!shown(error).includes(secret), shown(error));
      }
    }
    const client = createGsClient(
      { type: 'gs', bucket: 'b', path: '' },
      {
        clock: systemClock,
        fileSystem: nodeFileSystem,
        environment: { GOOGLE_APPLICATION_CREDENTIALS: join(folder, 'missing.json') },
      },
    );
    t.after(() => client.close());
    const error = await failureOf(client.init());
    assert.match(error.message, /missing\.json: .*no such file/);
  });

  it('are looked for again after a failure: the file may have come', async (t) => {
    const { open } = await makeBench(t);
    const client = open('not yet');
    await failureOf(client.init());
    open(serviceAccount());
    await client.init();
  });

  it('are waited for no longer than the caller wants', async (t) => {
    const { store, open } = await makeBench(t);
    const client = open(serviceAccount());
    await listAll(client, 0);
    const controller = new AbortController();
    store.proxy.fault = first(1, { kind: 'silence' });
    const listing = listAll(
      { list: (level) => client.list(level, { signal: controller.signal }) },
      0,
    );
    controller.abort();
    await assert.rejects(listing, { code: 'ERR_ABORTED' });
  });

  it('are nobody’s concern with an emulator', async (t) => {
    const { store } = await makeBench(t);
    const environment = { STORAGE_EMULATOR_HOST: `http://127.0.0.1:${store.proxy.port}/` };
    const client = createGsClient(
      { type: 'gs', bucket: 'b', path: '' },
      { clock: systemClock, fileSystem: nodeFileSystem, environment },
    );
    t.after(() => client.close());
    await client.init();
    await failureOf(listAll(client, 0));
    assert.equal(store.proxy.exchanges[0]?.headers['authorization'], undefined);
  });

  it('an emulator that is no address is a fault of the configuration', () => {
    assert.throws(
      () =>
        createGsClient(
          { type: 'gs', bucket: 'b', path: '' },
          {
            clock: systemClock,
            fileSystem: nodeFileSystem,
            environment: { STORAGE_EMULATOR_HOST: 'not an address' },
          },
        ),
      { code: 'ERR_CONFIG', message: 'STORAGE_EMULATOR_HOST is not an address: not an address' },
    );
  });
});
