import type { Clock } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import { type Logger, noopLogger } from '../../../telemetry/index.ts';
import type { ReplicaClient } from '../../contract.ts';
import type { NatsLocation } from '../../locations.ts';
import { optionalPackage } from '../../optional-package.ts';
import { NatsReplicaClient } from './client.ts';
import type { NatsSdk } from './connection.ts';

export interface NatsPorts {
  readonly clock: Clock;
  /** Reads credentials and certificates. */
  readonly fileSystem: FileSystem;
  readonly logger?: Logger | undefined;
}

function loadSdk(): Promise<NatsSdk> {
  const load = async (): Promise<NatsSdk> => ({
    transport: await import('@nats-io/transport-node'),
    jetstream: await import('@nats-io/jetstream'),
  });
  return optionalPackage(load, 'nats replicas', '@nats-io/transport-node', '@nats-io/jetstream');
}

/**
 * A client for a bucket of a NATS object store. Loads the libraries, contacts nothing.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` for a name that no bucket can have, or a package that is not installed.
 */
export async function createNatsClient(
  location: NatsLocation,
  { clock, fileSystem, logger = noopLogger }: NatsPorts,
): Promise<ReplicaClient> {
  const { bucket } = location;
  if (!/^[A-Za-z0-9_-]+$/.test(bucket)) {
    throw new LitestreamError('ERR_STORAGE_URL', `nats: invalid bucket name: ${bucket}`, {
      details: { bucket },
      hint: 'a bucket has no folders: nats://HOST:PORT/BUCKET, with letters, digits, - and _',
    });
  }
  return new NatsReplicaClient(location, { sdk: await loadSdk(), clock, fileSystem, logger });
}
