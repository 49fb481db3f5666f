import { constants } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ResolvedDatabase } from '../../config/index.ts';
import { errorMessage } from '../../lib/errors.ts';
import { findNetworkFileSystem } from '../../lib/network-file-system.ts';
import { findRefusedPaths, isAllowed, ownerText } from '../../lib/write-access.ts';
import { identify, readDatabaseHeader } from '../../sqlite/index.ts';
import type { Io } from '../command.ts';
import { formatSize } from '../output/format.ts';
import { type Check, Checks } from './check.ts';
import { checkHolder } from './holder.ts';

const LARGE_WAL_BYTES = 256 * 1024 * 1024;
const LITTLE_SPACE_BYTES = 64 * 1024 * 1024;
const WAL_VERSION = 2;

const SHARE =
  'run litestream as the user that the application runs as, or give its user write access (SQLite needs it even to read in WAL mode)';

/** Database, -wal, -shm and their folder must be writable. Spec: failures OPS-08. */
async function checkPermissions(path: string, checks: Checks, io: Io): Promise<void> {
  const refused = await findRefusedPaths(path, io.fileSystem);
  if (refused.length === 0) checks.ok('permissions', 'readable and writable');
  else checks.fail('permissions', `no write access to ${refused.join(', ')}`, SHARE);
}

/** The header, read without SQLite: whatever locks others hold stay as they are. */
function checkHeader(path: string, checks: Checks): boolean {
  const size = identify(path)?.size ?? 0;
  if (size === 0) {
    checks.note('database', 'the file is empty: nothing to replicate yet');
    return true;
  }
  const header = readDatabaseHeader(path);
  if (header === undefined) {
    const remedy = 'check the path; encrypted databases cannot be replicated';
    checks.fail('database', `${path} is no SQLite database`, remedy);
    return false;
  }
  checks.ok('database', `${formatSize(size)}, pages of ${header.pageSize} bytes`);
  if (header.writeVersion === WAL_VERSION) checks.ok('journal mode', 'wal');
  else {
    checks.warn(
      'journal mode',
      'not in WAL mode',
      `run PRAGMA journal_mode = wal once; litestream does it by itself, but only while no other connection uses ${path}`,
    );
  }
  return true;
}

/** What only the application's own connections know. */
function noteConnections(path: string, checks: Checks): void {
  const walBytes = identify(`${path}-wal`)?.size ?? 0;
  const wal = `the WAL has ${formatSize(walBytes)}`;
  if (walBytes > LARGE_WAL_BYTES) {
    checks.warn(
      'checkpoints',
      `${wal}: nobody could checkpoint it for long`,
      'look for a connection with a long-running read transaction, and for litestream not running',
    );
  } else {
    checks.ok('checkpoints', wal);
  }
  checks.note(
    'connections',
    'busy timeout and autocheckpoint belong to each connection of the application and cannot be seen from here',
    'set PRAGMA busy_timeout = 5000 on every connection; wal_autocheckpoint may stay as it is',
  );
}

async function checkFileSystem(path: string, checks: Checks): Promise<void> {
  try {
    const name = await findNetworkFileSystem(dirname(path));
    if (name === undefined) checks.ok('file system', 'local');
    else {
      const detail = `${name}: SQLite's locks and shared memory may not work there`;
      checks.warn('file system', detail, 'keep the database on a local disk');
    }
  } catch (error) {
    checks.note('file system', errorMessage(error));
  }
}

/** The first folder of a path that exists. */
async function existing(path: string, io: Io): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    if ((await io.fileSystem.stat('doctor:stat', at)) !== undefined || dirname(at) === at)
      return at;
  }
}

async function checkMetadata(database: ResolvedDatabase, checks: Checks, io: Io): Promise<void> {
  const { metaPath } = database;
  const folder = await existing(metaPath, io);
  const stat = await io.fileSystem.stat('doctor:stat', folder);
  const allowed = await isAllowed(folder, constants.W_OK | constants.X_OK);
  if (stat?.kind !== 'directory') {
    checks.fail('metadata', `${folder} is no folder`, 'choose another meta-path');
  } else if (!allowed) {
    const detail = `cannot write to ${folder} (${ownerText(stat)})`;
    checks.fail('metadata', detail, 'give litestream write access there, or set meta-path');
  } else {
    await tryFile(folder, metaPath, checks, io);
  }
}

/** Permission bits do not tell everything. */
async function tryFile(folder: string, metaPath: string, checks: Checks, io: Io): Promise<void> {
  const path = join(folder, `.litestream-doctor-${process.pid}.tmp`);
  try {
    const file = await io.fileSystem.open('doctor:open', path, 'create-new', 0o600);
    await file.close();
    await io.fileSystem.remove('doctor:remove', path);
    checks.ok('metadata', metaPath);
  } catch (error) {
    checks.failure('metadata', error, 'give litestream write access there, or set meta-path');
  }
}

async function checkSpace(database: ResolvedDatabase, checks: Checks, io: Io): Promise<void> {
  const { metaPath, path } = database;
  const size = identify(path)?.size ?? 0;
  const free = await io.fileSystem.freeBytes('doctor:free', await existing(metaPath, io));
  const detail = `${formatSize(free)} free for ${metaPath}`;
  const remedy =
    'free space, or set meta-path to another disk; a snapshot may take as much as the database';
  if (free < LITTLE_SPACE_BYTES) checks.fail('disk space', detail, remedy);
  else if (free < size)
    checks.warn('disk space', `${detail}, the database has ${formatSize(size)}`, remedy);
  else checks.ok('disk space', detail);
}

/** Everything about one database but its replicas. Opens no connection to it. */
export async function checkDatabase(database: ResolvedDatabase, io: Io): Promise<Check[]> {
  const { path } = database;
  const checks = new Checks(path);
  const work = async (name: string, body: () => void | Promise<void>): Promise<void> => {
    try {
      await body();
    } catch (error) {
      checks.failure(name, error);
    }
  };
  const found = await io.fileSystem.stat('doctor:stat', path).catch((error: unknown) => {
    checks.failure('database', error, 'check the path and who may enter its folders');
  });
  if (found?.kind === 'directory') {
    const remedy = "give the path of the database file, or use 'dir' instead of 'path'";
    checks.fail('database', 'is a folder', remedy);
  } else if (found === undefined && checks.all.length === 0) {
    const remedy = 'check the path; it is replicated as soon as the application has made the file';
    checks.fail('database', 'does not exist', remedy);
  } else if (found !== undefined) {
    await work('permissions', () => checkPermissions(path, checks, io));
    await work('database', () => {
      if (checkHeader(path, checks)) noteConnections(path, checks);
    });
    await work('file system', () => checkFileSystem(path, checks));
  }
  await work('metadata', () => checkMetadata(database, checks, io));
  await work('disk space', () => checkSpace(database, checks, io));
  await work('process', () => checkHolder(database.metaPath, checks, io));
  return checks.all;
}
