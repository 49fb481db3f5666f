import { noopLogger } from '../../../telemetry/index.ts';
import type { ReplicaClient } from '../../contract.ts';
import type { S3Location } from '../../locations.ts';
import { S3ReplicaClient } from './client.ts';
import type { S3Ports } from './session.ts';

/** The client of a replica in an S3 bucket, at AWS or any compatible service. */
export function createS3Client(
  location: S3Location,
  ports: Pick<S3Ports, 'clock' | 'fileSystem'> & {
    readonly [Name in keyof S3Ports]?: S3Ports[Name] | undefined;
  },
): ReplicaClient {
  const { logger = noopLogger, random = Math.random, environment = {} } = ports;
  return new S3ReplicaClient(location, { ...ports, logger, random, environment });
}
