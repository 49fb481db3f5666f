import { ownName } from '../../../lib/process-identity.ts';
import { noopLogger } from '../../../telemetry/index.ts';
import type { ReplicaClient } from '../../contract.ts';
import { LeaseKeeper } from '../../lease-keeper.ts';
import type { S3Location } from '../../locations.ts';
import { leased } from '../../wrappers/leased.ts';
import { S3ReplicaClient } from './client.ts';
import type { S3Ports } from './session.ts';

export type S3ClientOptions = Pick<S3Ports, 'clock' | 'fileSystem'> & {
  readonly [Name in keyof S3Ports]?: S3Ports[Name] | undefined;
} & {
  /** Of the lease. Default: `host:pid`. */
  readonly owner?: string | undefined;
};

/** The client of a replica in an S3 bucket, at AWS or any compatible service; with `lease` it writes only while it holds that. */
export function createS3Client(location: S3Location, options: S3ClientOptions): ReplicaClient {
  const { logger = noopLogger, random = Math.random, environment = {}, owner } = options;
  const ports: S3Ports = { ...options, logger, random, environment };
  const client = new S3ReplicaClient(location, ports);
  if (!location.lease) return client;
  const keeper = new LeaseKeeper({
    ...ports,
    leases: () => client.leases(),
    owner: owner ?? ownName(),
    location: client.location,
  });
  return leased(client, keeper);
}
