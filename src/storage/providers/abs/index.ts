import type { Clock } from '../../../lib/clock.ts';
import type { ReplicaClient } from '../../contract.ts';
import type { AbsLocation } from '../../locations.ts';
import { AbsReplicaClient } from './client.ts';
import { withConnectionString } from './connection-string.ts';
import { containerAddress, containerClient, type CredentialPorts } from './credentials.ts';

export interface AbsPorts extends CredentialPorts {
  readonly clock: Clock;
  /** In [0, 1). Default: Math.random. */
  readonly random?: (() => number) | undefined;
}

/**
 * A client for a container of Azure Blob Storage. Loads the SDK, contacts nothing.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` for settings that cannot work, or a package that is not installed.
 */
export async function createAbsClient(
  location: AbsLocation,
  { clock, environment, logger, random = Math.random }: AbsPorts,
): Promise<ReplicaClient> {
  const whole = withConnectionString(location, environment ?? {});
  const { url: address } = containerAddress(whole);
  const container = await containerClient(whole, { environment, logger });
  const { path } = location;
  return new AbsReplicaClient({ container, address, path, clock, random, logger });
}
