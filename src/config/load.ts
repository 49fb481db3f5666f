import { readFile } from 'node:fs/promises';
import { LitestreamError } from '../lib/errors.ts';
import { defaultConfigPath } from '../lib/default-config-path.ts';
import { isMissing, osError } from '../lib/os-error.ts';
import { buildConfig } from './build.ts';
import { decodeYaml } from './decode.ts';
import { expandEnv } from './expand-env.ts';
import { type FileKeys, fileSchema } from './keys.ts';
import { normalizePath } from './path.ts';
import type { Config, ConfigWarning, Environment } from './types.ts';
import { validateConfig } from './validate.ts';
import { readReplicaWarnings } from './read-replicas.ts';
import { urlWarnings } from './replica.ts';
import { unsetSecretWarnings } from './unset-secrets.ts';
import { configWarnings } from './warnings.ts';

export interface LoadOptions {
  readonly environment: Environment;
  /** False: `$NAME` stays as it is. */
  readonly expandEnv: boolean;
  /** The value of `$PID`. */
  readonly pid: number;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly warnings: readonly ConfigWarning[];
}

/**
 * Reads, expands, decodes and validates a configuration file.
 *
 * @param path - as typed; empty means the default.
 * @throws LitestreamError `ERR_CONFIG_NOT_FOUND`, `ERR_CONFIG`, `ERR_IO`
 *
 * Spec: config 1.
 */
export async function loadConfig(path: string, options: LoadOptions): Promise<LoadedConfig> {
  const file = normalizePath(path === '' ? defaultConfigPath(options.environment) : path);
  return parseConfig(await readText(file), options);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) {
      throw new LitestreamError('ERR_CONFIG_NOT_FOUND', `config file not found: ${path}`, {
        cause: error,
      });
    }
    // A folder opens and then cannot be read.
    const reading = error instanceof Error && 'code' in error && error.code === 'EISDIR';
    throw osError(reading ? 'read' : 'open', path, error);
  }
}

/** As {@link loadConfig}, from the text of a file. */
export function parseConfig(text: string, options: LoadOptions): LoadedConfig {
  const lookup = (name: string): string | undefined =>
    name === 'PID' ? String(options.pid) : options.environment[name];
  const expanded = options.expandEnv ? expandEnv(text, lookup) : text;
  const { value, unknownKeys, bareDurations } = decodeYaml<FileKeys>(expanded, fileSchema);
  refuseEmptyEntries(value);
  const config = buildConfig(value);
  validateConfig(config);
  const secrets = options.expandEnv ? unsetSecretWarnings(text, lookup) : [];
  const warnings = [
    ...configWarnings(unknownKeys, bareDurations),
    ...secrets,
    ...replicaUrlWarnings(value),
    ...readReplicaWarnings(config),
  ];
  return { config, warnings };
}

function replicaUrlWarnings(file: FileKeys): ConfigWarning[] {
  return (file.dbs ?? []).flatMap((database, at) => {
    const place = `dbs[${at}]`;
    const several = (database?.replicas ?? []).flatMap((replica, index) =>
      replica === null ? [] : urlWarnings(replica, `${place}.replicas[${index}].url`),
    );
    const one = database?.replica;
    return one === undefined ? several : [...urlWarnings(one, `${place}.replica.url`), ...several];
  });
}

function emptyEntry(name: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', `${name}: entry is empty`);
}

function refuseEmptyEntries(file: FileKeys): void {
  for (const [index, database] of (file.dbs ?? []).entries()) {
    if (database === null) throw emptyEntry(`database config #${index + 1}`);
    const name = database.path ?? database.dir ?? '';
    for (const key of ['replicas', 'read-replicas'] as const) {
      const empty = (database[key] ?? []).findIndex((entry) => entry === null);
      if (empty >= 0) throw emptyEntry(`dbs[${name}].${key}[${empty}]`);
    }
  }
  const empty = (file.levels ?? []).indexOf(null);
  if (empty >= 0) throw emptyEntry(`levels[${empty}]`);
}
