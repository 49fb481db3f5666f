import { basename, dirname, join } from 'node:path';
import { LitestreamError, wrapError } from '../lib/errors.ts';
import { normalizePath } from './path.ts';
import { type ResolvedReplica, resolveReplica } from './replica.ts';
import type { DatabaseConfig } from './types.ts';

/** A database entry whose replicas and metadata folder are known. */
export interface ResolvedDatabase {
  readonly config: DatabaseConfig;
  /** Absolute. */
  readonly path: string;
  /** Absolute. */
  readonly metaPath: string;
  /** At least one; the first is the default of every command. */
  readonly replicas: readonly ResolvedReplica[];
}

/** `DIR/.NAME-litestream`, where local state lives unless configured. Spec: config 9. */
export function defaultMetaPath(path: string): string {
  return join(dirname(path), `.${basename(path)}-litestream`);
}

function resolveMetaPath(database: DatabaseConfig, path: string): string {
  if (database.metaPath === '') return defaultMetaPath(path);
  try {
    return normalizePath(database.metaPath);
  } catch (error) {
    throw wrapError('failed to expand meta path', error);
  }
}

/** The names by which replicas are chosen: their own, or their type with `-2`, `-3` … where it repeats. Spec: config 11.2. */
function nameReplicas(replicas: readonly ResolvedReplica[]): ResolvedReplica[] {
  const counts = new Map<string, number>();
  return replicas.map((replica) => {
    if (replica.name !== '') return replica;
    const { type } = replica.location;
    const count = (counts.get(type) ?? 0) + 1;
    counts.set(type, count);
    return { ...replica, name: count === 1 ? type : `${type}-${count}` };
  });
}

/**
 * Resolves a `path` entry: where its state and its replicas are.
 *
 * @throws LitestreamError `ERR_CONFIG`
 *
 * Spec: config 5.3, 6 and 11.2.
 */
export function resolveDatabase(database: DatabaseConfig): ResolvedDatabase {
  const { replica, replicas, path } = database;
  if (replica !== undefined && replicas.length > 0) {
    throw new LitestreamError(
      'ERR_CONFIG',
      "cannot specify 'replica' and 'replicas' on a database",
    );
  }
  const entries = replica === undefined ? replicas : [replica];
  if (entries.length === 0) {
    throw new LitestreamError('ERR_CONFIG', 'must specify replica for database');
  }
  const metaPath = resolveMetaPath(database, path);
  return { config: database, path, metaPath, replicas: nameReplicas(entries.map(resolveReplica)) };
}
