/** A bucket as another program sees it. */
import { HttpClient } from '../../src/storage/http/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { addressOf } from '../../src/storage/providers/s3/address.ts';
import { S3Api } from '../../src/storage/providers/s3/api.ts';
import { bytesBody } from '../../src/storage/providers/s3/body.ts';
import { WireLog } from '../../src/storage/providers/s3/wire-log.ts';
import { listObjects } from '../../src/storage/providers/s3/listing.ts';
import { noopLogger } from '../../src/telemetry/index.ts';
import type { S3Server } from '../support/servers/index.ts';

async function withApi<T>(server: S3Server, use: (api: S3Api) => Promise<T>): Promise<T> {
  const http = new HttpClient({ clock: systemClock });
  const { accessKeyId, secretAccessKey } = server;
  const api = new S3Api({
    address: addressOf({ ...server, pathStyle: true }),
    region: server.region,
    credentials: {
      get: () => Promise.resolve({ accessKeyId, secretAccessKey }),
      refresh: () => Promise.resolve(false),
    },
    http,
    headers: {},
    signPayload: true,
    clock: systemClock,
    random: Math.random,
    logger: noopLogger,
    wire: new WireLog('', noopLogger),
  });
  try {
    return await use(api);
  } finally {
    http.close();
  }
}

/** Names of all objects whose keys begin with a prefix. */
export function allKeys(server: S3Server, prefix: string): Promise<string[]> {
  return withApi(server, async (api) => {
    const keys: string[] = [];
    const found = listObjects({ api, logger: noopLogger }, prefix, undefined);
    for await (const { key } of found) keys.push(key);
    return keys;
  });
}

export async function putObject(server: S3Server, key: string, bytes: Uint8Array): Promise<void> {
  await withApi(server, (api) =>
    api.request({ what: `put object ${key}`, method: 'PUT', key, body: bytesBody(bytes) }),
  );
}
