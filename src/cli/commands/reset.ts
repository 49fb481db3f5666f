import { basename, join } from 'node:path';
import {
  defaultMetaPath,
  normalizePath,
  resolveDatabase,
  type ResolvedDatabase,
} from '../../config/index.ts';
import type { MetaLock } from '../../engine/index.ts';
import { isLitestreamError, LitestreamError, wrapError } from '../../lib/errors.ts';
import type { FileSystem } from '../../lib/file-system.ts';
import {
  type Command,
  configFlags,
  defineCommand,
  type Io,
  limitPositionals,
  usageError,
} from '../command.ts';
import { type ConfigFlagValues, readConfigForCommand } from '../config.ts';
import { boolFlag } from '../flags.ts';
import { commandLogger } from '../logging.ts';

/** The configured entry of a database, if a configuration was named and has one. */
async function findEntry(
  path: string,
  values: ConfigFlagValues,
  io: Io,
): Promise<ResolvedDatabase | undefined> {
  if (values.config === '') return undefined;
  let databases;
  try {
    ({ databases } = await readConfigForCommand(values, io));
  } catch (error) {
    throw wrapError('cannot read config', error);
  }
  const entry = databases.find((database) => database.path === path);
  if (entry === undefined) return undefined;
  try {
    return resolveDatabase(entry);
  } catch (error) {
    throw wrapError('cannot create database from config', error);
  }
}

async function requireDatabase(path: string, fileSystem: FileSystem): Promise<void> {
  let stat;
  try {
    stat = await fileSystem.stat('reset:stat', path);
  } catch (error) {
    throw wrapError('cannot access database', error);
  }
  if (stat === undefined) {
    throw new LitestreamError('ERR_DB_NOT_FOUND', `database does not exist: ${path}`, {
      details: { path },
    });
  }
}

/** All files below a folder, in lexical order. */
async function walk(fileSystem: FileSystem, folder: string): Promise<string[]> {
  const files: string[] = [];
  for (const name of (await fileSystem.list('reset:list', folder)).toSorted()) {
    const path = join(folder, name);
    const stat = await fileSystem.stat('reset:stat', path);
    if (stat?.kind === 'directory') files.push(...(await walk(fileSystem, path)));
    else files.push(path);
  }
  return files;
}

async function dryRun(path: string, ltxPath: string, { fileSystem, stdout }: Io): Promise<void> {
  let files: string[];
  try {
    files = await walk(fileSystem, ltxPath);
  } catch (error) {
    throw wrapError('dry run failed', error);
  }
  stdout.write(
    `Dry run: local Litestream state would be reset for: ${path}\nWould remove: ${ltxPath}\n`,
  );
  stdout.write(
    files.length === 0
      ? 'No local LTX files would be removed.\n'
      : `Files that would be removed:\n${files.map((file) => `  ${file}\n`).join('')}No files were removed.\n`,
  );
}

/** Keeps a daemon from the local state while it is deleted. @throws LitestreamError `ERR_LOCKED` if one uses it. */
async function lock(metaPath: string, fileSystem: FileSystem): Promise<MetaLock> {
  const { MetaLock: Lock } = await import('../../engine/index.ts');
  const stat = await fileSystem.stat('reset:stat-meta', metaPath);
  const owner = { mode: stat?.mode ?? 0o700, uid: stat?.uid ?? -1, gid: stat?.gid ?? -1 };
  const taken = new Lock(metaPath, fileSystem);
  try {
    await taken.acquire(metaPath, { directory: owner, file: { ...owner, mode: 0o600 } });
  } catch (error) {
    if (!isLitestreamError(error, 'ERR_LOCKED')) throw wrapError('reset failed', error);
    const { cause, details, message } = error;
    throw new LitestreamError(
      'ERR_LOCKED',
      `database is being replicated; stop it first: ${message}`,
      {
        cause,
        details,
      },
    );
  }
  return taken;
}

async function remove(path: string, metaPath: string, io: Io): Promise<void> {
  const held = await lock(metaPath, io.fileSystem);
  try {
    await removeLocked(path, metaPath, io);
  } finally {
    await held.release();
  }
}

async function removeLocked(path: string, metaPath: string, io: Io): Promise<void> {
  const ltxPath = join(metaPath, 'ltx');
  const logger = commandLogger(io).with({ db: basename(path) });
  io.stdout.write(`Resetting local Litestream state for: ${path}\nRemoving: ${ltxPath}\n`);
  logger.log('info', 'resetting local litestream state', { meta_path: metaPath, ltx_dir: ltxPath });
  try {
    await io.fileSystem.removeTree('reset:remove', ltxPath);
  } catch (error) {
    throw wrapError('reset failed: remove ltx directory', error);
  }
  logger.log('info', 'local state reset complete, next sync will create fresh snapshot');
  io.stdout.write('Reset complete. Next replication sync will create a fresh snapshot.\n');
}

/** Deletes the local LTX files of a database, nothing else. Spec: cli 10. */
export const command: Command = defineCommand({
  name: 'reset',
  synopsis: ['reset [flags] DB_PATH'],
  about:
    'Deletes the local replication state of a database. The database and its replicas are not touched.\n' +
    'A meta-path of the configuration is honoured only with -config. Stop the daemon first.',
  flags: { ...configFlags, 'dry-run': boolFlag('print what would be removed, remove nothing') },
  async run({ values, positionals }, io) {
    const [argument = ''] = positionals;
    if (argument === '') throw usageError('database path required', 'litestream reset /path/to/db');
    limitPositionals(positionals, 1);
    const path = normalizePath(argument);
    const entry = await findEntry(path, values, io);
    await requireDatabase(path, io.fileSystem);
    const metaPath = entry?.metaPath ?? defaultMetaPath(path);
    if ((await io.fileSystem.stat('reset:stat-meta', metaPath)) === undefined) {
      io.stdout.write(
        `No local state to reset for ${path}\nMeta directory does not exist: ${metaPath}\n`,
      );
    } else if (values['dry-run']) {
      await dryRun(path, join(metaPath, 'ltx'), io);
    } else {
      await remove(path, metaPath, io);
    }
    return 0;
  },
});
