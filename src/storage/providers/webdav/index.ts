import { noopLogger } from '../../../telemetry/index.ts';
import type { ReplicaClient } from '../../contract.ts';
import type { WebdavLocation } from '../../locations.ts';
import type { ReplicaClientOptions } from '../../registry.ts';
import { parseAddress } from './address.ts';
import { WebdavReplicaClient } from './client.ts';
import { Session } from './session.ts';

/**
 * A client for a replica on a WebDAV server. Contacts nothing.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` if `webdav-url` is none.
 */
export function createWebdavClient(
  { url, username, password, path }: WebdavLocation,
  options: ReplicaClientOptions,
): ReplicaClient {
  const {
    clock,
    fileSystem,
    logger = noopLogger,
    environment = {},
    random = Math.random,
  } = options;
  const address = parseAddress(url);
  const session = new Session({ address, username, password, clock, random, environment });
  return new WebdavReplicaClient({ session, path, clock, fileSystem, logger });
}
