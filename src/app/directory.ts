import { lstat, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, posix, relative, sep } from 'node:path';
import { type DatabaseConfig, normalizePath, type ReplicaKeys } from '../config/index.ts';
import { LitestreamError, wrapError } from '../lib/errors.ts';
import { osError } from '../lib/os-error.ts';
import { compileGlob } from './glob.ts';

const SQLITE_MAGIC = 'SQLite format 3\0';

/** True if a file starts like a SQLite database; false if it is short or cannot be read. */
export async function isSqliteFile(path: string): Promise<boolean> {
  try {
    if (!(await stat(path)).isFile()) return false;
    const file = await open(path, 'r');
    try {
      const bytes = new Uint8Array(SQLITE_MAGIC.length);
      const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
      return new TextDecoder().decode(bytes.subarray(0, bytesRead)) === SQLITE_MAGIC;
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

/** All files below a folder in lexical order. Links to folders are not followed. */
async function walk(folder: string, recursive: boolean): Promise<string[]> {
  let entries;
  try {
    await lstat(folder);
  } catch (error) {
    throw osError('lstat', folder, error);
  }
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    throw osError('open', folder, error);
  }
  const files: string[] = [];
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) files.push(path);
    else if (recursive) files.push(...(await walk(path, recursive)));
  }
  return files;
}

async function scan(folder: string, entry: DatabaseConfig): Promise<string[]> {
  try {
    const files = await walk(folder, entry.recursive);
    // The pattern is judged only where there is something to match.
    const matches = files.length === 0 ? () => false : compileGlob(entry.pattern);
    const found: string[] = [];
    for (const file of files) {
      if (matches(basename(file)) && (await isSqliteFile(file))) found.push(file);
    }
    return found;
  } catch (error) {
    throw wrapError(`failed to scan directory ${folder}`, error);
  }
}

function joinUrl(url: string, relativePath: string): string {
  const question = url.indexOf('?');
  const base = question < 0 ? url : url.slice(0, question);
  const query = question < 0 ? '' : url.slice(question);
  const encoded = relativePath.split('/').map(encodeURIComponent).join('/');
  return `${base.replace(/\/+$/, '')}/${encoded}${query}`;
}

/** A bucket of NATS has no folders: all databases would write to the same names. */
function refuseNats({ url = '', type = '' }: ReplicaKeys): void {
  if (!/^nats:/i.test(url) && (type !== 'nats' || url !== '')) return;
  throw new LitestreamError(
    'ERR_CONFIG',
    'a nats replica cannot hold the databases of a directory: a bucket has no folders; list the databases, each with a bucket',
  );
}

/** The replica of one file of a folder: the folder's replica, one level down. */
function replicaBelow(keys: ReplicaKeys, relativePath: string): ReplicaKeys {
  refuseNats(keys);
  if (keys.url !== undefined && keys.url !== '') {
    return { ...keys, url: joinUrl(keys.url, relativePath) };
  }
  const { path = '', type = '' } = keys;
  if ((type === '' || type === 'file') && path === '') return keys;
  const isFile = type === '' || type === 'file';
  return { ...keys, path: isFile ? join(path, relativePath) : posix.join(path, relativePath) };
}

function metaPathBelow(entry: DatabaseConfig, relativePath: string): string {
  if (entry.metaDir !== '') {
    return join(normalizePath(entry.metaDir), `${relativePath}-litestream`);
  }
  if (entry.metaPath === '') return '';
  const folder = join(normalizePath(entry.metaPath), dirname(relativePath));
  return join(folder, `.${basename(relativePath)}-litestream`);
}

/**
 * The databases that a `dir` entry stands for, each as an entry of its own.
 *
 * @throws LitestreamError the folder cannot be scanned, or has no database, is not watched and may not be empty.
 *
 * Spec: config 8.
 */
export async function findDatabases(
  entry: DatabaseConfig,
  mayBeEmpty = false,
): Promise<DatabaseConfig[]> {
  const folder = normalizePath(entry.dir);
  const files = await scan(folder, entry);
  if (files.length === 0 && !entry.watch && !mayBeEmpty) {
    throw new LitestreamError(
      'ERR_CONFIG',
      `no SQLite databases found in directory ${folder} with pattern ${entry.pattern}`,
    );
  }
  return files.map((path) => databaseBelow(entry, path));
}

/**
 * The entry that one file of a folder stands for.
 *
 * @param path - absolute, below the folder.
 * @throws LitestreamError `ERR_CONFIG`
 */
export function databaseBelow(entry: DatabaseConfig, path: string): DatabaseConfig {
  const relativePath = relative(normalizePath(entry.dir), path).split(sep).join('/');
  return {
    ...entry,
    path,
    dir: '',
    metaDir: '',
    metaPath: metaPathBelow(entry, relativePath),
    replica: entry.replica && replicaBelow(entry.replica, relativePath),
    replicas: entry.replicas.map((keys) => replicaBelow(keys, relativePath)),
  };
}
