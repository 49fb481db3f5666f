import { dirname } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import type { FileStat, FileSystem, Ownership } from '../lib/file-system.ts';
import { besideDatabase } from '../lib/local-file-system.ts';
import { openReplica, type ReplicaClient, type ReplicaLocation } from '../storage/index.ts';
import type { Logger, Metrics } from '../telemetry/index.ts';

/** What every replica client stands on. */
export interface ClientPorts {
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  readonly random?: (() => number) | undefined;
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
  const fileSystem = besideDatabase(ports.fileSystem);
  const ownership =
    databasePath === undefined || location.type !== 'file'
      ? undefined
      : async () => ({
          file: ownershipOf(await fileSystem.stat('replica:stat-database', databasePath)),
          directory: ownershipOf(
            await fileSystem.stat('replica:stat-folder', dirname(databasePath)),
          ),
        });
  return openReplica(location, { ...ports, ownership, databasePath });
}
