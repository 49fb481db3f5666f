import { createHmac } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { makeSecretKey } from '../secrets.ts';
import { needServer } from './installed.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';

const ACCOUNT = 'devstoreaccount1';
/** Instead of the emulator's published one, which anybody may print. */
const KEY = makeSecretKey('Azure account key', 64);
const CONTAINER = 'testbucket';

export interface Azurite {
  readonly server: ServerProcess;
  readonly port: number;
  /** With the account in its path. */
  readonly endpoint: string;
  readonly accountName: string;
  /** Base64. */
  readonly accountKey: string;
  /** Exists. */
  readonly container: string;
}

/** Azurite, the emulator of Azure blobs: checks shared keys and SAS tokens. A restart keeps the blobs. */
export async function startAzurite(scope: Scope): Promise<Azurite | undefined> {
  const program = needServer(scope, 'azurite');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const location = join(server.folder, 'blobs');
  mkdirSync(location);
  const { port } = server;
  const quiet = ['--silent', '--skipApiVersionCheck', '--disableTelemetry'];
  const listen = ['--blobHost', '127.0.0.1', '--blobPort', String(port), '--location', location];
  await server.start({
    program: process.execPath,
    args: [program, ...quiet, ...listen],
    env: { AZURITE_ACCOUNTS: `${ACCOUNT}:${KEY}` },
    gentle: true,
  });
  await createContainer(port);
  return {
    server,
    port,
    endpoint: `http://127.0.0.1:${port}/${ACCOUNT}`,
    accountName: ACCOUNT,
    accountKey: KEY,
    container: CONTAINER,
  };
}

/** One request signed with the shared key; the client under test may not exist yet. */
async function createContainer(port: number): Promise<void> {
  const headers = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-08-06' };
  const named = Object.entries(headers).map(([name, value]) => `${name}:${value}`);
  const resource = `/${ACCOUNT}/${ACCOUNT}/${CONTAINER}\nrestype:container`;
  const text = ['PUT', ...Array<string>(11).fill(''), ...named, resource].join('\n');
  const signature = createHmac('sha256', Buffer.from(KEY, 'base64')).update(text).digest('base64');
  const url = `http://127.0.0.1:${port}/${ACCOUNT}/${CONTAINER}?restype=container`;
  const authorization = `SharedKey ${ACCOUNT}:${signature}`;
  const answer = await fetch(url, { method: 'PUT', headers: { ...headers, authorization } });
  if (answer.status !== 201) throw new Error(`azurite: ${answer.status} ${await answer.text()}`);
}
