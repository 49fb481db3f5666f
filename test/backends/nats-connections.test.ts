/** Connections to NATS: who may connect, and what is said when it does not work. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Objm } from '@nats-io/obj';
import { connect, nkeys, type NodeConnectionOptions } from '@nats-io/transport-node';
import { resolveReplica } from '../../src/config/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { bytesSource, type NatsLocation, type ReplicaLocation } from '../../src/storage/index.ts';
import { fileKey, listAll, ltxLike } from '../../src/testing/index.ts';
import { makeCertificates } from '../support/certificates.ts';
import { freePort, type NatsOptions, startNatsServer } from '../support/servers/index.ts';
import { tempDir } from '../support/temp-dir.ts';
import { jwtSetup } from './nats-jwt.ts';
import { natsLocation } from './nats-location.ts';
import { openReplica } from '../support/guarded.ts';
import { makeSecret, registerSecret } from '../support/secrets.ts';

/** Writes and lists one file. */
async function use(t: TestContext, location: ReplicaLocation): Promise<void> {
  const client = await openReplica(location, { clock: systemClock, fileSystem: nodeFileSystem });
  t.after(() => client.close());
  await client.write(fileKey(0, 1), bytesSource(ltxLike(1000)));
  assert.equal((await listAll(client, 0)).length, 1);
}

interface Server {
  readonly url: string;
  readonly bucket: string;
  at(settings?: Partial<NatsLocation>): NatsLocation;
}

/** A server whose bucket is made by a client with these settings. */
async function server(
  t: TestContext,
  options: NatsOptions,
  login: NodeConnectionOptions = {},
): Promise<Server | undefined> {
  const nats = await startNatsServer(t, { ...options, bucket: false });
  if (nats === undefined) return undefined;
  const connection = await connect({ servers: nats.url, ...login });
  await new Objm(connection).create(nats.bucket);
  await connection.close();
  const { url, bucket } = nats;
  return { url, bucket, at: (settings) => natsLocation(url, bucket, settings) };
}

const B = makeSecret('NATS password', 'b');
const P = makeSecret('NATS password', 'p');

const DENIED = {
  code: 'ERR_STORAGE_DENIED',
  message:
    /nats: failed to connect: failed to connect to NATS server: nats: .*Authorization Violation/,
};

function urlLocation(url: string, keys: object = {}): ReplicaLocation {
  return resolveReplica({ url, ...keys }).location;
}

test('BKD-24 a user and his password, from the settings or the URL', async (t) => {
  const password = makeSecret('NATS password', 'p w:1');
  const config = `authorization { user: "u@x", password: "${password}" }`;
  const nats = await server(t, { config }, { user: 'u@x', pass: password });
  if (nats === undefined) return;
  await use(t, nats.at({ username: 'u@x', password }));
  const host = nats.url.slice('nats://'.length);
  await use(t, urlLocation(`nats://u%40x:${encodeURIComponent(password)}@${host}/${nats.bucket}`));
  const keys = { username: 'u@x', password };
  await use(
    t,
    urlLocation(`nats://other:${makeSecret('wrong password')}@${host}/${nats.bucket}`, keys),
  );
  await assert.rejects(use(t, nats.at()), DENIED);
  await assert.rejects(use(t, nats.at({ username: 'u@x' })), DENIED, 'without password');
  const wrong = makeSecret('wrong password');
  await assert.rejects(use(t, urlLocation(`nats://u%40x:${wrong}@${host}/${nats.bucket}`)), DENIED);
});

test('BKD-24 a token, from the settings or the URL', async (t) => {
  const token = makeSecret('NATS token', 't0ken');
  const nats = await server(t, { config: `authorization { token: "${token}" }` }, { token });
  if (nats === undefined) return;
  await use(t, nats.at({ token }));
  await use(t, urlLocation(`nats://${token}@${nats.url.slice(7)}/${nats.bucket}`));
  await assert.rejects(use(t, nats.at({ token: makeSecret('wrong token') })), DENIED);
});

test('an nkey, as a seed or beside one', async (t) => {
  const user = nkeys.createUser();
  const seed = new TextDecoder().decode(user.getSeed());
  registerSecret('NATS seed', seed);
  const nkey = user.getPublicKey();
  const config = `authorization { users: [ { nkey: ${nkey} } ] }`;
  const { nkeyAuthenticator } = await import('@nats-io/transport-node');
  const nats = await server(t, { config }, { authenticator: nkeyAuthenticator(user.getSeed()) });
  if (nats === undefined) return;
  await use(t, nats.at({ nkey: seed }));
  await use(t, nats.at({ nkey, seed }));
  await assert.rejects(use(t, nats.at({ nkey })), {
    code: 'ERR_STORAGE_URL',
    message: 'nats: nkey defined without a signature handler',
  });
});

test('a JWT with its seed, or both in a credentials file', async (t) => {
  const { config, jwt, seed, creds } = jwtSetup();
  const file = join(tempDir(t), 'user.creds');
  writeFileSync(file, creds);
  const { credsAuthenticator } = await import('@nats-io/transport-node');
  const login = { authenticator: credsAuthenticator(Buffer.from(creds)) };
  const nats = await server(t, { config }, login);
  if (nats === undefined) return;
  await use(t, nats.at({ jwt, seed }));
  await use(t, nats.at({ creds: file }));
  await assert.rejects(use(t, nats.at({ jwt })), DENIED, 'a JWT alone is no method');
  await assert.rejects(use(t, nats.at({ creds: `${file}.no` })), {
    message: /^nats: cannot read credentials: open .*user\.creds\.no: no such file/,
  });
});

test('BKD-18 TLS: the authority is checked, a client certificate is shown', async (t) => {
  const folder = tempDir(t);
  const files = await makeCertificates(folder);
  if (files === undefined) {
    t.skip('openssl: not installed');
    return;
  }
  const { authority, serverCert, serverKey, clientCert, clientKey } = files;
  const config = `tls { cert_file: "${serverCert}", key_file: "${serverKey}", ca_file: "${authority}", verify: true }`;
  const [ca, cert, key] = await Promise.all(
    [authority, clientCert, clientKey].map((path) => readFile(path, 'utf8')),
  );
  assert.ok(ca !== undefined && cert !== undefined && key !== undefined);
  const nats = await server(t, { config }, { tls: { ca, cert, key } });
  if (nats === undefined) return;
  const good = { tls: true, rootCas: [authority], clientCert, clientKey };
  await use(t, nats.at(good));
  await use(t, { ...nats.at(good), url: nats.url.replace('127.0.0.1', 'localhost') });
  await assert.rejects(use(t, nats.at({ ...good, rootCas: [] })), {
    code: 'ERR_STORAGE',
    message: /nats: failed to connect: .*certificate/,
    hint: /root-cas/,
  });
  const anonymous = { ...good, clientCert: '', clientKey: '', timeoutMs: 1000 };
  await assert.rejects(use(t, nats.at(anonymous)), {
    message: /nats: failed to connect: /,
    hint: /client-cert/,
  });
  await assert.rejects(use(t, nats.at({ ...good, rootCas: [join(folder, 'none.pem')] })), {
    message: /nats: cannot read root CA: open .*none\.pem/,
  });
});

test('BKD-18 TLS that the server does not have is an error', async (t) => {
  const nats = await server(t, {});
  if (nats === undefined) return;
  await assert.rejects(use(t, nats.at({ tls: true })), /server does not support 'tls'/);
});

test('BKD-18 a missing bucket and a missing JetStream are named, and nothing is created', async (t) => {
  const nats = await startNatsServer(t);
  if (nats === undefined) return;
  await assert.rejects(use(t, natsLocation(nats.url, 'other')), {
    code: 'ERR_STORAGE',
    message:
      'nats: failed to initialize object store: failed to access object store bucket "other" (bucket must be created beforehand): nats: stream not found',
    hint: /create the bucket/,
  });
  const config = `accounts { A: { users: [ { user: a, password: ${B} } ] } }`;
  const plain = await startNatsServer(t, { config, bucket: false });
  if (plain === undefined) return;
  const location = natsLocation(plain.url, 'b', { username: 'a', password: B });
  await assert.rejects(use(t, location), {
    code: 'ERR_STORAGE',
    message: /\(bucket must be created beforehand\): nats: jetstream.*not enabled/i,
    hint: /JetStream/,
  });
});

test('a user without permission is told so', async (t) => {
  const permissions = '{ publish: { allow: ["$JS.API.>"] }, subscribe: { allow: [">"] } }';
  const config = `authorization { users: [ { user: u, password: ${P}, permissions: ${permissions} }, { user: a, password: ${B} } ] }`;
  const nats = await server(t, { config }, { user: 'a', pass: B });
  if (nats === undefined) return;
  const location = nats.at({ username: 'u', password: P, timeoutMs: 1000 });
  await assert.rejects(use(t, location), {
    code: 'ERR_STORAGE_DENIED',
    message: /failed to put object ltx\/0\/.*: nats: .*[Pp]ermissions? [Vv]iolation/,
  });
});

test('a server that is not there: no servers available', async (t) => {
  const location = natsLocation(`nats://127.0.0.1:${await freePort()}`, 'b');
  await assert.rejects(use(t, location), {
    code: 'ERR_STORAGE_TEMPORARY',
    retryable: true,
    message:
      /^nats: failed to connect: failed to connect to NATS server: nats: no servers available for connection/,
  });
});

test('a name that no bucket can have is refused before anything is tried', async (t) => {
  const nested = urlLocation('nats://127.0.0.1:1/b/sub');
  await assert.rejects(use(t, nested), {
    code: 'ERR_STORAGE_URL',
    message: 'nats: invalid bucket name: b/sub',
  });
});
