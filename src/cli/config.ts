import {
  type Config,
  loadConfig,
  type LoadedConfig,
  normalizePath,
  resolveDatabase,
  type ResolvedDatabase,
} from '../config/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { Io } from './command.ts';
import { commandLogger, logConfigWarnings } from './logging.ts';

/** Values of the flags that choose a configuration file. */
export interface ConfigFlagValues {
  readonly config: string;
  readonly 'no-expand-env': boolean;
}

/** Reads the configuration; what it says in vain is left to the caller. */
export function readConfig(values: ConfigFlagValues, io: Io): Promise<LoadedConfig> {
  return loadConfig(values.config, {
    environment: io.environment,
    expandEnv: !values['no-expand-env'],
    pid: process.pid,
  });
}

/** Reads the configuration; the WARN lines about it go to stderr, so that results on stdout stay clean. */
export async function readConfigForCommand(values: ConfigFlagValues, io: Io): Promise<Config> {
  const { config, warnings } = await readConfig(values, io);
  const shown = warnings.filter(({ logOnly }) => logOnly !== true);
  logConfigWarnings(commandLogger(io, { toStderr: true }), shown);
  return config;
}

/**
 * The entry of a database that was named on the command line.
 *
 * @throws LitestreamError `ERR_DB_NOT_FOUND`, or `ERR_CONFIG` if its replicas are wrong.
 */
export function findDatabase(config: Config, argument: string): ResolvedDatabase {
  const path = normalizePath(argument);
  const found = config.databases.find((database) => database.path === path);
  if (found === undefined) {
    throw new LitestreamError('ERR_DB_NOT_FOUND', `database not found in config: ${path}`, {
      details: { path },
    });
  }
  return resolveDatabase(found);
}
