import { needServer } from './installed.ts';
import { makeSecret } from '../secrets.ts';
import type { S3Server } from './s3-server.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';

const BUCKET = 'testbucket';

/**
 * moto: a wide part of the S3 interface with conditional PUT and DELETE, but no check of signatures, digests and hashes. It keeps
 * its objects in memory: a restart loses them, the bucket too.
 */
export async function startMoto(scope: Scope): Promise<S3Server | undefined> {
  const program = needServer(scope, 'moto');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const endpoint = `http://127.0.0.1:${server.port}`;
  await server.start({ program, args: ['-H', '127.0.0.1', '-p', String(server.port)] });
  const { status } = await fetch(`${endpoint}/${BUCKET}`, { method: 'PUT' });
  if (status !== 200) throw new Error(`moto does not make a bucket: status ${status}`);
  return {
    server,
    port: server.port,
    endpoint,
    region: 'us-east-1',
    bucket: BUCKET,
    accessKeyId: 'litestreamkey',
    secretAccessKey: makeSecret('S3 secret key', 'litestream+secret/key'),
  };
}
