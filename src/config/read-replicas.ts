import { LitestreamError } from '../lib/errors.ts';
import { formatDuration } from '../lib/go-duration.ts';
import type { ReadReplicaKeys } from './keys.ts';
import { normalizePath } from './path.ts';
import type { ReadReplicaConfig } from './read-replica-config.ts';
import type { Config, ConfigWarning, DatabaseConfig } from './types.ts';

/** What `read-replicas[].type` and `read-replicas[].promote` may say. */
export const readReplicaTypes: readonly string[] = ['sqlite'];
export const promotions: readonly string[] = ['manual', 'auto'];

const NAME = /^[\w.-]+$/;
const FOLLOW_INTERVAL_MS = 1000;

/** An entry with its defaults; nothing is checked yet. */
export function buildReadReplica(keys: ReadReplicaKeys): ReadReplicaConfig {
  const { name = '', path = '', promote = '', type = '' } = keys;
  return {
    name,
    type: type === '' ? 'sqlite' : type,
    path: path === '' ? '' : normalizePath(path),
    followIntervalMs: keys['follow-interval'] ?? FOLLOW_INTERVAL_MS,
    lagAlertMs: keys['lag-alert'],
    promote: promote === '' ? 'manual' : promote,
  };
}

function hasLease({ replica, replicas }: DatabaseConfig): boolean {
  return [replica, ...replicas].some((entry) => entry?.lease === true);
}

/** What is wrong with an entry by itself. */
function ownProblem(entry: ReadReplicaConfig, database: DatabaseConfig): string | undefined {
  const { followIntervalMs, lagAlertMs, name, path, promote, type } = entry;
  if (name === '') return 'name is required';
  if (!NAME.test(name)) return `invalid name "${name}" (letters, digits, ".", "_" and "-")`;
  if (!readReplicaTypes.includes(type)) return `unsupported type "${type}"`;
  if (path === '') return 'path is required';
  if (followIntervalMs <= 0) {
    return `follow-interval must be greater than 0 (got ${formatDuration(followIntervalMs)})`;
  }
  if ((lagAlertMs ?? 0) < 0)
    return `lag-alert must be >= 0 (got ${formatDuration(lagAlertMs ?? 0)})`;
  if (!promotions.includes(promote)) {
    return `unsupported promote "${promote}" (expected manual or auto)`;
  }
  if (promote === 'auto' && !hasLease(database)) {
    return 'promote "auto" needs a replica with `lease: true`, which keeps the old primary from writing';
  }
  return undefined;
}

/** Names and paths that are taken, each with whoever has them. */
interface Taken {
  readonly names: Set<string>;
  readonly paths: Map<string, string>;
}

function collision({ name, path }: ReadReplicaConfig, { names, paths }: Taken): string | undefined {
  if (names.has(name)) return `duplicate name "${name}"`;
  const owner = paths.get(path);
  return owner === undefined ? undefined : `path "${path}" is already used by ${owner}`;
}

/**
 * Checks all entries of `read-replicas`; the first problem ends it.
 *
 * @throws LitestreamError `ERR_CONFIG`
 *
 * Spec: config 11.4.
 */
export function checkReadReplicas({ databases }: Pick<Config, 'databases'>): void {
  const paths = databases.flatMap(({ path }, index): [string, string][] =>
    path === '' ? [] : [[path, `database config #${index + 1}`]],
  );
  const taken: Taken = { names: new Set(), paths: new Map(paths) };
  for (const [index, database] of databases.entries()) {
    const { dir, path, readReplicas } = database;
    if (dir !== '' && readReplicas.length > 0) {
      const message = `database config #${index + 1}: 'read-replicas' cannot be used with a directory`;
      throw new LitestreamError('ERR_CONFIG', message);
    }
    for (const [at, entry] of readReplicas.entries()) {
      const field = `dbs[${path}].read-replicas[${at}]`;
      const problem = ownProblem(entry, database) ?? collision(entry, taken);
      if (problem !== undefined) {
        throw new LitestreamError('ERR_CONFIG', `${field}: ${problem}`, { details: { field } });
      }
      taken.names.add(entry.name);
      taken.paths.set(entry.path, `read replica "${entry.name}"`);
    }
  }
}

/** The WARN lines for entries that nothing keeps up to date yet. */
export function readReplicaWarnings({ databases }: Pick<Config, 'databases'>): ConfigWarning[] {
  return databases.flatMap(({ readReplicas }, index) =>
    readReplicas.length === 0
      ? []
      : [
          {
            message: 'ignoring unsupported configuration key',
            attributes: {
              key: `dbs[${index}].read-replicas`,
              hint: 'read replicas are not available in this version, use litestream restore -f',
            },
          },
        ],
  );
}
