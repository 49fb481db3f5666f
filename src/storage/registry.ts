import { LitestreamError } from '../lib/errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { FileSystem } from '../lib/file-system.ts';
import { type Logger, type Metrics, noopLogger, noopMetrics } from '../telemetry/index.ts';
import type { ReplicaClient, ReplicaOwnership } from './contract.ts';
import type { FileLocation, ReplicaLocation } from './locations.ts';
import { checkedDeletes } from './wrappers/checked-deletes.ts';
import { loggedDeletes } from './wrappers/logged-deletes.ts';
import { resumableReads } from './wrappers/resumable-read.ts';
import { withMetrics } from './wrappers/with-metrics.ts';

/** What every provider may need. */
export interface ReplicaClientOptions {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /** Counts the operations. Default: nobody does. */
  readonly metrics?: Metrics | undefined;
  /** Environment variables: credentials, proxies, emulators. Default: none. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** In [0, 1): spreads retries. Default: Math.random. */
  readonly random?: (() => number) | undefined;
  /** Permissions and owner for new files and folders of a `file` replica; asked before each write. */
  readonly ownership?: (() => ReplicaOwnership | Promise<ReplicaOwnership>) | undefined;
  /** Database that the replica belongs to, open in this process. */
  readonly databasePath?: string | undefined;
}

/**
 * Opens the client of a replica, with all wrappers: the provider, then resumed reads, then metrics, then what is
 * said of deletions. Nothing is contacted
 * before the first call.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` for a type that this version does not have or a location without a path.
 */
export async function openReplica(
  location: ReplicaLocation,
  options: ReplicaClientOptions,
): Promise<ReplicaClient> {
  if (location.type === 'file' && location.path === '') {
    throw new LitestreamError('ERR_STORAGE_URL', 'file replica path required');
  }
  const { clock, logger = noopLogger, metrics = noopMetrics } = options;
  const provider = await openProvider(location, options);
  const resumed = resumableReads(provider, { clock, logger });
  const counted = metrics === noopMetrics ? resumed : withMetrics(resumed, { clock, metrics });
  return loggedDeletes(checkedDeletes(counted, { clock, logger }), logger);
}

/** {@link openReplica} for a folder. */
export function openFileReplica(
  path: FileLocation['path'],
  options: ReplicaClientOptions,
): Promise<ReplicaClient> {
  return openReplica({ type: 'file', path }, options);
}

/** Providers are imported when they are first used: `litestream version` loads none. */
async function openProvider(
  location: ReplicaLocation,
  options: ReplicaClientOptions,
): Promise<ReplicaClient> {
  switch (location.type) {
    case 'file': {
      const { FileReplicaClient } = await import('./providers/file/index.ts');
      return new FileReplicaClient({ ...options, path: location.path });
    }
    case 'abs': {
      const { createAbsClient } = await import('./providers/abs/index.ts');
      return createAbsClient(location, options);
    }
    case 'webdav': {
      const { createWebdavClient } = await import('./providers/webdav/index.ts');
      return createWebdavClient(location, options);
    }
    case 'nats': {
      const { createNatsClient } = await import('./providers/nats/index.ts');
      return createNatsClient(location, options);
    }
    case 's3': {
      const { createS3Client } = await import('./providers/s3/index.ts');
      return createS3Client(location, options);
    }
    case 'sftp': {
      const { createSftpClient } = await import('./providers/sftp/index.ts');
      return createSftpClient(location, options);
    }
    case 'gs': {
      const { createGsClient } = await import('./providers/gs/index.ts');
      return createGsClient(location, options);
    }
    case 'oss': {
      const { createOssClient } = await import('./providers/oss/index.ts');
      return createOssClient(location, options);
    }
  }
}
