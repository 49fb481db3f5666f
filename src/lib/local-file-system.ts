import fs, { constants, type BigIntStats } from 'node:fs';
import { stat, statfs } from 'node:fs/promises';
import { platform } from 'node:os';
import { dirname } from 'node:path';
import { systemClock } from './clock.ts';
import {
  type FileSystem,
  makeFileStat,
  MODE_BITS,
  nodeFileSystem,
  OPEN_FLAGS,
  type OpenMode,
  type Ownership,
} from './file-system.ts';
import { LocalFile } from './local-file.ts';
import { LoopTurns } from './loop-turns.ts';
import { isMissing, osError, osErrorCode } from './os-error.ts';

/** So long the calls of one turn of the event loop may take together with what is done between them. */
const TURN_MS = 5;
/** A copy that takes a fraction of a millisecond. */
const COPY_BYTES_MAX = 256 * 1024;

/** File systems of local disks and memory, by the number that statfs gives on Linux. */
const LOCAL_TYPES: ReadonlySet<number> = new Set([
  0xef53, // ext2 to ext4
  0x5846_5342, // XFS
  0x9123_683e, // Btrfs
  0x2fc1_2fc1, // ZFS
  0xf2f5_2010, // F2FS
  0x0102_1994, // tmpfs
  0x794c_7630, // overlayfs
]);

const turns = new LoopTurns(systemClock, TURN_MS);

/** Runs a system call and translates its error. */
async function call<T>(operation: string, path: string, run: () => T): Promise<T> {
  while (turns.isOver()) await turns.next();
  try {
    return run();
  } catch (error) {
    throw osError(operation, path, error);
  }
}

/** True if the copy is small, and what it replaces, if anything, is no pipe: whoever opens one waits for its reader. */
function isQuickCopy(from: string, to: string): boolean {
  try {
    const size = fs.statSync(from, { throwIfNoEntry: false })?.size ?? 0;
    return size <= COPY_BYTES_MAX && fs.statSync(to, { throwIfNoEntry: false })?.isFile() !== false;
  } catch {
    return false;
  }
}

/** A pipe that is opened for reading does not wait for its writer. Files do not know the difference. */
const QUICK_FLAGS: Readonly<Record<OpenMode, number>> = {
  ...OPEN_FLAGS,
  read: OPEN_FLAGS.read | constants.O_NONBLOCK,
};

/** Undefined if nothing is there. @throws the system's error, also if a parent is no folder, which Node does not tell apart */
function look(path: string): BigIntStats | undefined {
  const found = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  if (found !== undefined || dirname(path) === path) return found;
  const parent = look(dirname(path));
  if (parent?.isDirectory() === false) {
    throw Object.assign(new Error('not a directory'), { code: 'ENOTDIR' });
  }
  return undefined;
}

/** With its parents. Some folders take none although they exist (`/proc`): the second attempt is the last. */
function makeOwnedDirectory(path: string, owner: Ownership | undefined, again = false): void {
  const found = fs.statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return;
  try {
    fs.mkdirSync(path, owner?.mode ?? 0o700);
  } catch (error) {
    if (osErrorCode(error) === 'EEXIST') {
      if (fs.statSync(path).isDirectory()) return;
      const cause = Object.assign(new Error('not a directory'), { code: 'ENOTDIR' });
      throw osError('mkdir', path, cause);
    }
    if (!isMissing(error) || dirname(path) === path || again) throw osError('mkdir', path, error);
    makeOwnedDirectory(dirname(path), owner);
    makeOwnedDirectory(path, owner, true);
    return;
  }
  if (owner !== undefined) own(path, owner);
}

function own(path: string, owner: Ownership): void {
  const { gid, mode, uid } = fs.statSync(path);
  if ((mode & MODE_BITS) !== owner.mode) {
    try {
      fs.chmodSync(path, owner.mode);
    } catch (error) {
      throw osError('chmod', path, error);
    }
  }
  if (uid === owner.uid && gid === owner.gid) return;
  try {
    fs.chownSync(path, owner.uid, owner.gid);
  } catch {
    // Only root may give folders away.
  }
}

/**
 * {@link nodeFileSystem} for local disks. Node hands each call to another thread and back, which takes twenty times as long as to look at
 * a file, open it, read a page of it or rename it. Here such calls are made at once, at most five milliseconds of them in one
 * turn of the event loop. What waits for the disk, above all fsync, and what is large goes to a thread as before.
 *
 * Not for a mount that may stop answering: everything would stop with it.
 */
export const localFileSystem: FileSystem =
  platform() === 'win32'
    ? nodeFileSystem
    : {
        ...nodeFileSystem,
        async open(_label, path, mode: OpenMode, permissions) {
          const open = (): number => fs.openSync(path, QUICK_FLAGS[mode], permissions ?? 0o666);
          return new LocalFile(await call('open', path, open), path, turns);
        },
        async rename(_label, from, to) {
          await call('rename', `${from} ${to}`, () => fs.renameSync(from, to));
        },
        async link(_label, from, to) {
          await call('link', `${from} ${to}`, () => fs.linkSync(from, to));
        },
        async remove(_label, path) {
          await call('remove', path, () => {
            try {
              fs.unlinkSync(path);
            } catch (error) {
              if (!isMissing(error)) throw error;
            }
          });
        },
        async list(_label, path) {
          return call('open', path, () => {
            // To make an error costs more than to look first.
            if (look(path) === undefined) return [];
            try {
              return fs.readdirSync(path);
            } catch (error) {
              if (isMissing(error)) return [];
              throw error;
            }
          });
        },
        async stat(_label, path) {
          return call('stat', path, () => {
            const found = look(path);
            return found && makeFileStat(found);
          });
        },
        async makeDirectory(_label, path, owner) {
          await call('mkdir', path, () => makeOwnedDirectory(path, owner));
        },
        async syncDirectory(label, path) {
          const open = (): number => fs.openSync(path, constants.O_RDONLY);
          const folder = new LocalFile(await call('open', path, open), path, turns);
          try {
            await folder.sync(label);
          } finally {
            await folder.close();
          }
        },
        async copy(label, from, to) {
          if (isQuickCopy(from, to)) {
            await call('copy', `${from} ${to}`, () => fs.copyFileSync(from, to));
          } else await nodeFileSystem.copy(label, from, to);
        },
      };

/** The fastest way to a path that is on the disk of a database which is open, or will be: there is nothing to lose any more. */
export function besideDatabase(fileSystem: FileSystem): FileSystem {
  return fileSystem === nodeFileSystem ? localFileSystem : fileSystem;
}

/**
 * The fastest way to a path, which need not exist. {@link localFileSystem} if it is on the same local disk as the database: whatever may
 * hang while the database does not keeps its threads.
 */
export async function fastestFor(
  fileSystem: FileSystem,
  path: string,
  databasePath: string,
): Promise<FileSystem> {
  if (fileSystem !== nodeFileSystem || platform() !== 'linux') return fileSystem;
  for (let at = path; ; at = dirname(at)) {
    try {
      const { dev } = await stat(at);
      const { type } = await statfs(at);
      // Some builds give the number with a sign.
      const isLocal =
        LOCAL_TYPES.has(type >>> 0) && (await stat(dirname(databasePath))).dev === dev;
      return isLocal ? localFileSystem : fileSystem;
    } catch (error) {
      if (!isMissing(error) || dirname(at) === at) return fileSystem;
    }
  }
}
