import type { Clock } from '../../../lib/clock.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import { type Logger, noopLogger } from '../../../telemetry/index.ts';
import type { ReplicaClient } from '../../contract.ts';
import type { WebdavLocation } from '../../locations.ts';
import { parseAddress } from './address.ts';
import { WebdavReplicaClient } from './client.ts';
import { Session } from './session.ts';

/** What a client stands on. */
export interface WebdavPorts {
  readonly clock: Clock;
  /** For uploads of unknown origin that do not fit into memory. */
  readonly fileSystem: FileSystem;
  readonly logger?: Logger | undefined;
  /** Proxies and authorities. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** In [0, 1). */
  readonly random?: (() => number) | undefined;
}

/**
 * A client for a replica on a WebDAV server. Contacts nothing.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` if `webdav-url` is none.
 */
export function createWebdavClient(
  { url, username, password, path }: WebdavLocation,
  options: WebdavPorts,
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
