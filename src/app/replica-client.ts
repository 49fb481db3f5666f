import { dirname } from 'node:path';
import type { ReplicaLocation } from '../config/index.ts';
import type { Clock } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { FileStat, FileSystem, Ownership } from '../lib/file-system.ts';
import { openFileReplica, type ReplicaClient } from '../storage/index.ts';
import type { Logger } from '../telemetry/index.ts';

/** What every replica client stands on. */
export interface ClientPorts {
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly logger: Logger;
}

function ownershipOf(stat: FileStat | undefined): Ownership | undefined {
  if (stat === undefined) return undefined;
  const { mode, uid, gid } = stat;
  return { mode, uid, gid };
}

/**
 * Builds the client of a resolved replica. Nothing is contacted before the first call.
 *
 * @param databasePath - new files and folders of a `file` replica take owner and permissions from this database and its folder.
 * @throws LitestreamError `ERR_STORAGE_URL` for a type that this version cannot reach.
 */
export function createReplicaClient(
  location: ReplicaLocation,
  ports: ClientPorts,
  databasePath?: string,
): Promise<ReplicaClient> {
  const { clock, fileSystem, logger } = ports;
  if (location.type !== 'file') {
    throw new LitestreamError(
      'ERR_STORAGE_URL',
      `replica type "${location.type}" is not supported in this version, use a file replica`,
      { details: { type: location.type } },
    );
  }
  const ownership =
    databasePath === undefined
      ? undefined
      : async () => ({
          file: ownershipOf(await fileSystem.stat('replica:stat-database', databasePath)),
          directory: ownershipOf(
            await fileSystem.stat('replica:stat-folder', dirname(databasePath)),
          ),
        });
  return openFileReplica(location.path, { clock, fileSystem, logger, ownership });
}
