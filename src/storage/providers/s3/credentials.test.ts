import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, it, type TestContext } from 'node:test';
import { s3Bench, type S3Bench } from '../../../../test/support/fake-s3/index.ts';
import { fileKey, listAll, ltxLike } from '../../../testing/index.ts';
import { noopLogger } from '../../../telemetry/index.ts';
import { bytesSource } from '../../sources.ts';
import { type ChainProvider, credentialSource } from './credentials.ts';
import { makeSecret } from '../../../../test/support/secrets.ts';

const ENDPOINT = 'http://store.test:9000';
/** What a client has that is given no keys. */
const NO_KEYS = { endpoint: ENDPOINT, accessKeyId: '', secretAccessKey: '' };
const KEYS = { accessKeyId: 'litestreamkey', secretAccessKey: makeSecret('S3 secret key', 'k+/') };
const TOKEN = makeSecret('session token', '+/=');
const METADATA_TOKEN = makeSecret('metadata token');
const PROOF = makeSecret('identity token');

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'litestream-credentials-'));
  t.after(() => {
    rmSync(path, { recursive: true });
  });
  return path;
}

/** Answers as a service of Amazon would; returns its address. */
async function serve(
  t: TestContext,
  answer: (request: IncomingMessage, body: string) => string | undefined,
): Promise<string> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
    });
    request.on('end', () => {
      const text = answer(request, Buffer.concat(chunks).toString());
      response.writeHead(text === undefined ? 404 : 200).end(text);
    });
  });
  return await listen(t, server);
}

async function listen(t: TestContext, server: Server): Promise<string> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

function inMs(ms: number): string {
  return new Date(Date.now() + ms).toISOString();
}

async function use({ open }: S3Bench): Promise<void> {
  await listAll(open(NO_KEYS, { environment: { ...process.env } }), 0);
}

/** The packages of Amazon read the environment of the process. */
beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (/^(?:AWS_|HTTPS?_PROXY$|https?_proxy$)/.test(name))
      Reflect.deleteProperty(process.env, name);
  }
  process.env['AWS_EC2_METADATA_DISABLED'] = 'true';
  process.env['AWS_SHARED_CREDENTIALS_FILE'] = '/no/such/credentials';
  process.env['AWS_CONFIG_FILE'] = '/no/such/config';
});

describe('credentials', () => {
  it('are those of the configuration, before those of the environment', async (t) => {
    const { open, fake } = await s3Bench(t, { secrets: KEYS });
    const environment = {
      AWS_ACCESS_KEY_ID: 'other',
      AWS_SECRET_ACCESS_KEY: 'x',
      AWS_SESSION_TOKEN: 't',
    };
    await listAll(open({ endpoint: ENDPOINT }, { environment }), 0);
    assert.equal(fake.requests[0]?.headers['x-amz-security-token'], undefined);
  });

  it('BKD-12 are those of the environment with their token, whatever the profile', async (t) => {
    const { open, fake } = await s3Bench(t, { secrets: { ...KEYS, sessionToken: TOKEN } });
    const environment = {
      AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
      AWS_SESSION_TOKEN: TOKEN,
      AWS_PROFILE: 'other',
    };
    await listAll(open(NO_KEYS, { environment }), 0);
    assert.equal(fake.requests[0]?.status, 200);
  });

  it('load no package of Amazon while there are keys', async () => {
    const loadChain = (): Promise<ChainProvider> => Promise.reject(new Error('loaded'));
    const ports = { environment: {}, logger: noopLogger, loadChain };
    await credentialSource(KEYS, ports).get();
    const half = credentialSource({ ...KEYS, secretAccessKey: '' }, ports);
    await assert.rejects(half.get(), /loaded/);
  });
});

describe('credentials that the packages of Amazon find', () => {
  it('are those of a profile', async (t) => {
    const bench = await s3Bench(t, { secrets: KEYS });
    const path = join(folder(t), 'credentials');
    writeFileSync(
      path,
      `[default]\naws_access_key_id = x\naws_secret_access_key = x\n[backup]\naws_access_key_id = ${KEYS.accessKeyId}\naws_secret_access_key = ${KEYS.secretAccessKey}\n`,
    );
    process.env['AWS_SHARED_CREDENTIALS_FILE'] = path;
    process.env['AWS_PROFILE'] = 'backup';
    await use(bench);
  });

  it('are those of a program that a profile names', async (t) => {
    const bench = await s3Bench(t, { secrets: KEYS });
    const path = folder(t);
    const program = join(path, 'keys.json');
    writeFileSync(
      program,
      JSON.stringify({
        Version: 1,
        AccessKeyId: KEYS.accessKeyId,
        SecretAccessKey: KEYS.secretAccessKey,
      }),
    );
    writeFileSync(join(path, 'config'), `[default]\ncredential_process = cat ${program}\n`);
    process.env['AWS_CONFIG_FILE'] = join(path, 'config');
    await use(bench);
  });

  it('are those of a role, for a token in a file', async (t) => {
    const bench = await s3Bench(t, { secrets: { ...KEYS, sessionToken: TOKEN } });
    const token = join(folder(t), 'token');
    writeFileSync(token, PROOF);
    let asked = '';
    process.env['AWS_ENDPOINT_URL_STS'] = await serve(t, (_request, body) => {
      asked = body;
      return `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>${KEYS.accessKeyId}</AccessKeyId><SecretAccessKey>${KEYS.secretAccessKey}</SecretAccessKey><SessionToken>${TOKEN}</SessionToken><Expiration>${inMs(3_600_000)}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`;
    });
    process.env['AWS_WEB_IDENTITY_TOKEN_FILE'] = token;
    process.env['AWS_ROLE_ARN'] = 'arn:aws:iam::123456789012:role/r';
    process.env['AWS_REGION'] = 'eu-west-1';
    await use(bench);
    assert.ok(asked.includes(PROOF), asked);
  });

  it('are those of an instance', async (t) => {
    const bench = await s3Bench(t, { secrets: { ...KEYS, sessionToken: TOKEN } });
    delete process.env['AWS_EC2_METADATA_DISABLED'];
    process.env['AWS_EC2_METADATA_SERVICE_ENDPOINT'] = await serve(
      t,
      ({ method, url, headers }) => {
        if (method === 'PUT' && url === '/latest/api/token') return METADATA_TOKEN;
        if (headers['x-aws-ec2-metadata-token'] !== METADATA_TOKEN) return undefined;
        const base = '/latest/meta-data/iam/security-credentials';
        if (url === `${base}/` || url === base) return 'role';
        if (url !== `${base}/role`) return undefined;
        return JSON.stringify({
          Code: 'Success',
          Type: 'AWS-HMAC',
          LastUpdated: inMs(-1000),
          AccessKeyId: KEYS.accessKeyId,
          SecretAccessKey: KEYS.secretAccessKey,
          Token: TOKEN,
          Expiration: inMs(3_600_000),
        });
      },
    );
    await use(bench);
  });

  it('BKD-12 of an instance are missed in words that name the hop limit, if no session token comes', async (t) => {
    const bench = await s3Bench(t, { secrets: KEYS });
    delete process.env['AWS_EC2_METADATA_DISABLED'];
    const asked: string[] = [];
    // The answer to the first request never arrives, and nothing is given away without a token.
    const metadata = createServer(({ method, url }, response) => {
      asked.push(`${method} ${url}`);
      if (method !== 'PUT') response.writeHead(401).end();
    });
    process.env['AWS_EC2_METADATA_SERVICE_ENDPOINT'] = await listen(t, metadata);
    await assert.rejects(use(bench), {
      code: 'ERR_STORAGE_DENIED',
      message:
        /^s3: cannot load credentials: .*the instance metadata service gave no session token/,
      hint: /--http-put-response-hop-limit 2/,
    });
    assert.equal(asked[0], 'PUT /latest/api/token');
    assert.equal(bench.fake.requests.length, 0);
  });

  it('BKD-12 are renewed when they are about to expire, and when the store says that they have', async (t) => {
    const bench = await s3Bench(t, { secrets: KEYS });
    let issued = 0;
    let lifeMs = 60_000;
    process.env['AWS_CONTAINER_CREDENTIALS_FULL_URI'] = await serve(t, () => {
      issued++;
      return JSON.stringify({
        AccessKeyId: KEYS.accessKeyId,
        SecretAccessKey: KEYS.secretAccessKey,
        Token: makeSecret('session token', `token-${issued}-`),
        Expiration: inMs(lifeMs),
      });
    });
    bench.fake.rules.fault = ({ headers }) => {
      const token = headers['x-amz-security-token'] ?? '';
      bench.fake.rules.secrets = { ...KEYS, sessionToken: token };
      return Number(token.split('-')[1]) < issued
        ? { status: 400, code: 'ExpiredToken', message: 'The provided token has expired.' }
        : undefined;
    };
    const client = bench.open(NO_KEYS, { environment: { ...process.env } });
    for (let txid = 1; txid <= 20; txid++) {
      await client.write(fileKey(0, txid), bytesSource(ltxLike(100)));
    }
    assert.equal(bench.fake.objects.size, 20);
    assert.ok(issued > 1, 'a minute is too short to wait for its end');
    // They last now, and are taken back all the same.
    lifeMs = 3_600_000;
    await client.write(fileKey(0, 21), bytesSource(ltxLike(100)));
    issued += 5;
    await client.write(fileKey(0, 22), bytesSource(ltxLike(100)));
    assert.equal(bench.fake.objects.size, 22);
  });

  it('BKD-12 are asked for once more only', async (t) => {
    const bench = await s3Bench(t, { secrets: KEYS });
    bench.fake.rules.fault = () => ({ status: 403, code: 'ExpiredToken', message: 'expired' });
    const provider: ChainProvider = () => Promise.resolve(KEYS);
    const client = bench.open(NO_KEYS, { loadChain: () => Promise.resolve(provider) });
    await assert.rejects(listAll(client, 0), {
      code: 'ERR_STORAGE_DENIED',
      message: /ExpiredToken: expired/,
      hint: 'renew the temporary credentials',
    });
    assert.equal(bench.fake.requests.length, 2);
  });

  it('are missed in words that say what to do, and looked for again at the next call', async (t) => {
    const bench = await s3Bench(t, { secrets: KEYS });
    await assert.rejects(use(bench), {
      code: 'ERR_STORAGE_DENIED',
      message: /^s3: cannot load credentials: /,
      hint: /access-key-id/,
    });
    let there = false;
    const provider: ChainProvider = () =>
      there ? Promise.resolve(KEYS) : Promise.reject(new Error('not yet'));
    const client = bench.open(NO_KEYS, { loadChain: () => Promise.resolve(provider) });
    await assert.rejects(client.delete([fileKey(0, 1)]), /cannot load credentials: not yet/);
    there = true;
    await client.delete([fileKey(0, 1)]);
  });

  it('need a package, whose absence is told with the command that installs it', async () => {
    const missing = Object.assign(new Error("Cannot find package '@aws-sdk/…'"), {
      code: 'ERR_MODULE_NOT_FOUND',
    });
    const source = credentialSource(
      { accessKeyId: '', secretAccessKey: '' },
      { environment: {}, logger: noopLogger, loadChain: () => Promise.reject(missing) },
    );
    await assert.rejects(source.get(), {
      code: 'ERR_STORAGE_URL',
      message:
        's3 replicas without access-key-id need a package that is not installed; run: npm install @aws-sdk/credential-provider-node',
      hint: 'npm install @aws-sdk/credential-provider-node',
    });
  });
});
