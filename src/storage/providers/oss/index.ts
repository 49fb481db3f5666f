import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../telemetry/index.ts';
import type { ReplicaClient } from '../../contract.ts';
import { hostAndPort, HttpClient } from '../../http/index.ts';
import type { OssLocation } from '../../locations.ts';
import { ossAddress } from './address.ts';
import { OssApi } from './api.ts';
import { OssReplicaClient } from './client.ts';
import { ossKeys } from './keys.ts';

export interface OssOptions {
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /** Keys and proxies. Default: none. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** In [0, 1). Default: Math.random. */
  readonly random?: (() => number) | undefined;
}

/**
 * Opens a replica in Alibaba Cloud OSS. Contacts nobody.
 *
 * @throws LitestreamError `ERR_CONFIG` for an endpoint that is none.
 */
export function createOssClient(location: OssLocation, options: OssOptions): ReplicaClient {
  const { bucket, path, partSizeBytes, concurrency } = location;
  const { clock, logger, environment = {}, random = Math.random } = options;
  const address = ossAddress(location);
  const http = new HttpClient({ clock, environment });
  const keys = (): ReturnType<typeof ossKeys> => ossKeys(location, environment);
  return new OssReplicaClient({
    api: new OssApi({ bucket, address, keys, http, clock, random }),
    host: hostAndPort(address.target),
    path,
    partSizeBytes,
    concurrency,
    logger,
    close: () => http.close(),
  });
}
