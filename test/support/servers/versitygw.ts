import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { needServer } from './installed.ts';
import { makeSecret } from '../secrets.ts';
import type { S3Server } from './s3-server.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';

const ACCESS_KEY = 'litestreamkey';
const SECRET_KEY = makeSecret('S3 secret key', 'litestream+secret/key');
const BUCKET = 'testbucket';

/**
 * versitygw: S3 that checks signatures, payload hashes and digests. Objects are files, so that a restart keeps them; keys such as
 * `./x` and `/x` are therefore beyond it.
 */
export async function startVersitygw(scope: Scope): Promise<S3Server | undefined> {
  const program = needServer(scope, 'versitygw');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const root = join(server.folder, 'buckets');
  mkdirSync(join(root, BUCKET), { recursive: true });
  await server.start({
    program,
    args: ['--port', `127.0.0.1:${server.port}`, 'posix', root],
    env: { ROOT_ACCESS_KEY_ID: ACCESS_KEY, ROOT_SECRET_ACCESS_KEY: SECRET_KEY },
  });
  return {
    server,
    port: server.port,
    endpoint: `http://127.0.0.1:${server.port}`,
    region: 'us-east-1',
    bucket: BUCKET,
    accessKeyId: ACCESS_KEY,
    secretAccessKey: SECRET_KEY,
    root: join(root, BUCKET),
  };
}
