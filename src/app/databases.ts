import { stat } from 'node:fs/promises';
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

/** A folder to be watched, and what was found in it. */
export interface WatchedDirectory {
  readonly entry: DatabaseConfig;
  readonly known: readonly string[];
}

/** A database that a folder entry found and that has a `path` entry of its own, which counts. */
export interface ShadowedDatabase {
  /** Under its name in the folder. */
  readonly path: string;
  readonly dir: string;
  /** Path of the entry that counts: the same, or another name of the file. */
  readonly listed: string;
}

export interface ResolvedDatabases {
  readonly databases: readonly ResolvedDatabase[];
  readonly directories: readonly FoundDirectory[];
  readonly watched: readonly WatchedDirectory[];
  readonly shadowed: readonly ShadowedDatabase[];
}

/** What tells files apart, whatever their names; undefined if nothing is there. */
async function fileKey(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** The `path` entries, by path and by file. */
async function listedFiles(
  entries: readonly DatabaseConfig[],
): Promise<(path: string) => Promise<string | undefined>> {
  const paths = entries.flatMap(({ dir, path }) => (dir === '' ? [path] : []));
  const owners = new Map<string, string>();
  for (const path of entries.some(({ dir }) => dir !== '') ? paths : []) {
    owners.set(path, path);
    const key = await fileKey(path);
    if (key !== undefined) owners.set(key, path);
  }
  return async (path) => owners.get(path) ?? owners.get((await fileKey(path)) ?? '');
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
 * Resolves every entry of the configuration; folders are searched. Of a file that a `path` entry and a folder entry reach, the `path`
 * entry counts. A folder without databases is an error unless `mayBeEmpty`. Spec: failures OPS-20.
 *
 * @throws LitestreamError `ERR_CONFIG`: a bad replica, an empty folder, or two databases with one file or one
 *   metadata folder.
 */
export async function resolveDatabases(
  entries: readonly DatabaseConfig[],
  { mayBeEmpty = false }: { readonly mayBeEmpty?: boolean } = {},
): Promise<ResolvedDatabases> {
  const databases: ResolvedDatabase[] = [];
  const directories: FoundDirectory[] = [];
  const watched: WatchedDirectory[] = [];
  const shadowed: ShadowedDatabase[] = [];
  const listedAs = await listedFiles(entries);
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
    const dir = normalizePath(entry.dir);
    const known: string[] = [];
    const found = await findDatabases(entry, mayBeEmpty);
    for (const file of found) {
      const { path } = file;
      const listed = await listedAs(path);
      if (listed !== undefined) {
        shadowed.push({ path, dir, listed });
        continue;
      }
      add(resolveFound(file, numbers.get(path)), index + 1);
      known.push(path);
    }
    const { watch } = entry;
    directories.push({ dir, count: found.length, watch });
    if (watch) watched.push({ entry, known });
  }
  return { databases, directories, watched, shadowed };
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
