import { isDeepStrictEqual } from 'node:util';
import { type DatabaseConfig, resolveDatabase, type ResolvedDatabase } from '../config/index.ts';
import { LitestreamError } from '../lib/errors.ts';

/**
 * Resolves every database entry.
 *
 * @throws LitestreamError `ERR_CONFIG`: a bad replica, a folder entry, or two databases with one metadata folder.
 */
export function resolveDatabases(databases: readonly DatabaseConfig[]): ResolvedDatabase[] {
  const owners = new Map<string, string>();
  return databases.map((database) => {
    if (database.dir !== '') {
      throw new LitestreamError(
        'ERR_CONFIG',
        `directory entries are not supported in this version, list each database with 'path': ${database.dir}`,
      );
    }
    const resolved = resolveDatabase(database);
    const { path, metaPath } = resolved;
    const owner = owners.get(metaPath);
    if (owner !== undefined) {
      throw new LitestreamError(
        'ERR_CONFIG',
        `meta-path collision: databases ${owner} and ${path} would share meta-path ${metaPath}, causing replication state corruption`,
      );
    }
    owners.set(metaPath, path);
    return resolved;
  });
}

/** Pairs of databases that are configured to write to one place. */
export function sharedLocations(
  databases: readonly ResolvedDatabase[],
): { readonly path: string; readonly other: string }[] {
  const seen: { readonly path: string; readonly location: unknown }[] = [];
  const shared: { path: string; other: string }[] = [];
  for (const { path, replicas } of databases) {
    for (const { location } of replicas) {
      const other = seen.find((entry) => isDeepStrictEqual(entry.location, location));
      if (other === undefined) seen.push({ path, location });
      else shared.push({ path, other: other.path });
    }
  }
  return shared;
}
