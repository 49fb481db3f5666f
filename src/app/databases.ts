import {
  type DatabaseConfig,
  normalizePath,
  resolveDatabase,
  type ResolvedDatabase,
} from '../config/index.ts';
import { LitestreamError, wrapError } from '../lib/errors.ts';
import { findDatabases } from './directory.ts';

/** What was found in the folder of a `dir` entry. */
export interface FoundDirectory {
  readonly dir: string;
  readonly count: number;
  readonly watch: boolean;
}

export interface ResolvedDatabases {
  readonly databases: readonly ResolvedDatabase[];
  readonly directories: readonly FoundDirectory[];
}

function metaPathCollision(a: string, b: string, metaPath: string): LitestreamError {
  return new LitestreamError(
    'ERR_CONFIG',
    `meta-path collision: databases ${a} and ${b} would share meta-path ${metaPath}, causing replication state corruption`,
  );
}

function resolveFound(database: DatabaseConfig, usedBy: number | undefined): ResolvedDatabase {
  try {
    if (usedBy !== undefined) {
      throw new LitestreamError('ERR_CONFIG', `already used by database config #${usedBy}`);
    }
    return resolveDatabase(database);
  } catch (error) {
    throw wrapError(`failed to create DB for ${database.path}`, error);
  }
}

/**
 * Resolves every entry of the configuration; folders are searched.
 *
 * @throws LitestreamError `ERR_CONFIG`: a bad replica, a folder without databases, or two databases with one file or one
 *   metadata folder.
 */
export async function resolveDatabases(
  entries: readonly DatabaseConfig[],
): Promise<ResolvedDatabases> {
  const databases: ResolvedDatabase[] = [];
  const directories: FoundDirectory[] = [];
  const metaPaths = new Map<string, string>();
  const numbers = new Map<string, number>();
  const add = (database: ResolvedDatabase, number: number): void => {
    const { path, metaPath } = database;
    const owner = metaPaths.get(metaPath);
    if (owner !== undefined) throw metaPathCollision(owner, path, metaPath);
    metaPaths.set(metaPath, path);
    numbers.set(path, number);
    databases.push(database);
  };
  for (const [index, entry] of entries.entries()) {
    if (entry.dir === '') {
      add(resolveDatabase(entry), index + 1);
      continue;
    }
    const found = await findDatabases(entry);
    for (const file of found) add(resolveFound(file, numbers.get(file.path)), index + 1);
    const { watch } = entry;
    directories.push({ dir: normalizePath(entry.dir), count: found.length, watch });
  }
  return { databases, directories };
}

/** Pairs of databases that are configured to write to one place. */
export function sharedLocations(
  databases: readonly ResolvedDatabase[],
): { readonly path: string; readonly other: string }[] {
  const owners = new Map<string, string>();
  const shared: { path: string; other: string }[] = [];
  for (const { path, replicas } of databases) {
    for (const { location } of replicas) {
      const key = JSON.stringify(location);
      const other = owners.get(key);
      if (other === undefined) owners.set(key, path);
      else shared.push({ path, other });
    }
  }
  return shared;
}
