import { basename } from 'node:path';
import { createReplicaClient } from '../app/index.ts';
import {
  type Config,
  defaultConfig,
  isReplicaUrl,
  resolveReplica,
  type ResolvedReplica,
  urlWarnings,
} from '../config/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { ReplicaClient } from '../storage/index.ts';
import type { Logger } from '../telemetry/index.ts';
import { type Io, usageError } from './command.ts';
import { type ConfigFlagValues, findDatabase, readConfigForCommand } from './config.ts';
import { commandLogger, logConfigWarnings } from './logging.ts';

/** Where a command that reads a replica was pointed at. */
export interface Selection {
  readonly replica: ResolvedReplica;
  /** The database's path, if the argument was one. */
  readonly databasePath: string | undefined;
  /** Its metadata folder, if the argument was a database's path. */
  readonly metaPath?: string | undefined;
  readonly config: Config;
}

export interface SelectValues extends ConfigFlagValues {
  /** Name of the replica; empty = the first. */
  readonly replica: string;
}

function chooseReplica(replicas: readonly ResolvedReplica[], name: string): ResolvedReplica {
  const found = name === '' ? replicas[0] : replicas.find((replica) => replica.name === name);
  if (found !== undefined) return found;
  const names = replicas.map((replica) => replica.name).join(', ');
  throw new LitestreamError(
    'ERR_CONFIG',
    `replica not found: ${name} (the database has: ${names})`,
  );
}

/**
 * Finds the replica that an argument names: by URL alone, or by a database's path in the configuration.
 *
 * @throws LitestreamError `ERR_USAGE`, `ERR_CONFIG…`, `ERR_DB_NOT_FOUND`
 *
 * Spec: cli 4.
 */
export async function selectReplica(
  argument: string,
  values: SelectValues,
  io: Io,
): Promise<Selection> {
  if (isReplicaUrl(argument)) {
    if (values.config !== '') {
      throw usageError('cannot specify a replica URL and the -config flag');
    }
    const replica = resolveReplica({ url: argument });
    const warnings = urlWarnings({ url: argument }, 'REPLICA_URL');
    logConfigWarnings(commandLogger(io, { toStderr: true }), warnings);
    return {
      replica,
      databasePath: undefined,
      config: defaultConfig(),
    };
  }
  const config = await readConfigForCommand(values, io);
  const database = findDatabase(config, argument);
  return {
    replica: chooseReplica(database.replicas, values.replica),
    databasePath: database.path,
    metaPath: database.metaPath,
    config,
  };
}

/** The logger of a command that works on one replica. */
export function replicaLogger(selection: Selection, json: boolean, io: Io): Logger {
  const { replica, databasePath, config } = selection;
  return commandLogger(io, { logging: config.logging, toStderr: json }).with({
    ...(databasePath === undefined ? {} : { db: basename(databasePath) }),
    replica: replica.location.type,
  });
}

/** The client of a selected replica. */
export function selectedClient(
  selection: Selection,
  logger: Logger,
  io: Io,
): Promise<ReplicaClient> {
  const { clock, environment, fileSystem } = io;
  return createReplicaClient(selection.replica.location, {
    clock,
    environment,
    fileSystem,
    logger,
  });
}
