import type { ReplicaClient } from '../../contract.ts';
import type { SftpLocation } from '../../locations.ts';
import { SftpReplicaClient, type SftpReplicaOptions } from './client.ts';

/**
 * A replica on an SFTP server. Nothing is contacted before the first call; the package `ssh2` is loaded then.
 *
 * @throws LitestreamError `ERR_CONFIG` for a `host` or a `host-key` that cannot be read.
 */
export function createSftpClient(
  location: SftpLocation,
  options: SftpReplicaOptions,
): ReplicaClient {
  return new SftpReplicaClient(location, options);
}

export { SftpReplicaClient, type SftpReplicaOptions };
