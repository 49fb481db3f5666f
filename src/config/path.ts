import { homedir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { LitestreamError } from '../lib/errors.ts';

const DATABASE_SCHEMES = ['sqlite3://', 'sqlite://'] as const;
const DATABASE_URL_LENGTH_MIN = 9;
const REPLICA_URL = /^\w+:\/\//;

/** The home directory: the user database first, then `HOME`. */
function homeDirectory(path: string): string {
  try {
    const home = userInfo().homedir;
    if (home !== '') return home;
  } catch {
    // A container's user may have no entry; HOME is left.
  }
  const home = homedir();
  if (home === '') {
    throw new LitestreamError(
      'ERR_CONFIG',
      `cannot expand path ${path}, no home directory available`,
    );
  }
  return home;
}

/** The path in `sqlite://…`, `sqlite3://…` and in SQLite's own `file:…`, without parameters; any other text as it is. */
export function stripDatabaseScheme(path: string): string {
  if (path.length < DATABASE_URL_LENGTH_MIN) return path;
  const scheme = DATABASE_SCHEMES.find((prefix) => path.startsWith(prefix));
  if (scheme !== undefined) return path.slice(scheme.length).replace(/\?.*$/s, '');
  // With two slashes it names a replica.
  return /^file:(?!\/\/)./.test(path) ? path.slice('file:'.length).replace(/\?.*$/s, '') : path;
}

/** True if a command-line argument names a replica (`s3://…`) and not a database (a path, `sqlite://…`). Spec: cli 4. */
export function isReplicaUrl(argument: string): boolean {
  return REPLICA_URL.test(argument) && stripDatabaseScheme(argument) === argument;
}

/**
 * Makes a path absolute and clean: strips `sqlite://`, expands a leading `~`, resolves against the working directory. Symbolic
 * links are kept.
 *
 * @throws LitestreamError `ERR_CONFIG` if `~` is used and there is no home directory.
 *
 * Spec: config 9.
 */
export function normalizePath(path: string): string {
  const plain = stripDatabaseScheme(path);
  if (plain === '~') return homeDirectory(plain);
  if (plain.startsWith('~/'))
    return join(homeDirectory(plain), plain.slice(2)).replace(/(?<=.)\/$/, '');
  return resolve(plain);
}
