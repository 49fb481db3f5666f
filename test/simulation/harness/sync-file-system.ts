import fs from 'node:fs';
import { dirname, join } from 'node:path';
import type { FileStat, FileSystem, OpenFile, OpenMode } from '../../../src/lib/file-system.ts';
import { isMissing, osError } from '../../../src/lib/os-error.ts';
import { Violation } from './violation.ts';

// Taken once: the simulation replaces some of these for the code under test.
const { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readdirSync, readSync } = fs;
const { linkSync, renameSync, rmSync, statSync, writeSync } = fs;

const FLAGS: Readonly<Record<OpenMode, string>> = {
  read: 'r',
  write: 'r+',
  create: 'w+',
  'create-new': 'wx+',
};

function call<T>(operation: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw osError(operation, path, error);
  }
}

function toStat(stats: fs.BigIntStats): FileStat {
  return {
    kind: stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other',
    size: Number(stats.size),
    mtimeMs: Number(stats.mtimeMs),
    mode: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    dev: stats.dev,
    ino: stats.ino,
  };
}

/**
 * Real files through synchronous calls: every operation ends in the turn in which it began, so that a run is the same each time.
 * Notices names given before the content is durable.
 */
export class SyncFileSystem implements FileSystem {
  /** Files with writes that were not fsynced. */
  readonly #unsynced = new Set<string>();
  /** Folders with names that were not fsynced. */
  readonly #unsyncedFolders = new Set<string>();
  /** Called before each operation. */
  onCall: () => void = () => undefined;
  descriptors = 0;

  /** Names of this folder would survive a power cut. */
  isDurable(folder: string): boolean {
    return !this.#unsyncedFolders.has(folder);
  }

  /** What a power cut would lose does not matter any more. */
  forget(): void {
    this.#unsynced.clear();
    this.#unsyncedFolders.clear();
  }

  async open(_label: string, path: string, mode: OpenMode, bits?: number): Promise<OpenFile> {
    this.onCall();
    const fd = call('open', path, () => openSync(path, FLAGS[mode], bits ?? 0o666));
    this.descriptors++;
    return this.#file(fd, path);
  }

  async rename(_label: string, from: string, to: string): Promise<void> {
    this.onCall();
    if (this.#unsynced.has(from)) throw new Violation(`${from} got its name before its fsync`);
    call('rename', from, () => renameSync(from, to));
    this.#unsyncedFolders.add(dirname(to));
  }

  async link(_label: string, from: string, to: string): Promise<void> {
    this.onCall();
    if (this.#unsynced.has(from)) throw new Violation(`${from} got its name before its fsync`);
    call('link', from, () => linkSync(from, to));
    this.#unsyncedFolders.add(dirname(to));
  }

  async remove(_label: string, path: string): Promise<void> {
    this.onCall();
    this.#unsynced.delete(path);
    call('remove', path, () => rmSync(path, { force: true }));
  }

  async removeTree(_label: string, path: string): Promise<void> {
    this.onCall();
    call('remove', path, () => rmSync(path, { force: true, recursive: true }));
  }

  async list(_label: string, path: string): Promise<string[]> {
    this.onCall();
    try {
      return readdirSync(path);
    } catch (error) {
      if (isMissing(error)) return [];
      throw osError('open', path, error);
    }
  }

  async stat(_label: string, path: string): Promise<FileStat | undefined> {
    this.onCall();
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    return found === undefined ? undefined : toStat(found);
  }

  async makeDirectory(_label: string, path: string): Promise<void> {
    this.onCall();
    call('mkdir', path, () => mkdirSync(path, { recursive: true, mode: 0o700 }));
  }

  async syncDirectory(_label: string, path: string): Promise<void> {
    this.onCall();
    this.#unsyncedFolders.delete(path);
  }

  async copy(_label: string, from: string, to: string): Promise<void> {
    this.onCall();
    call('copy', `${from} ${to}`, () => fs.copyFileSync(from, to));
  }

  async freeBytes(): Promise<number> {
    return 1e12;
  }

  /** Times are exact already: they are kept as they were given. */
  async setExactTimes(): Promise<void> {}

  #file(fd: number, path: string): OpenFile {
    const at = (): void => this.onCall();
    let open = true;
    return {
      fd,
      read: async (_label, target, position) => {
        at();
        let done = 0;
        while (done < target.length) {
          const found = readSync(fd, target, done, target.length - done, position + done);
          if (found === 0) break;
          done += found;
        }
        return done;
      },
      write: async (_label, bytes, position) => {
        at();
        this.#unsynced.add(path);
        call('write', path, () => writeSync(fd, bytes, 0, bytes.length, position));
      },
      sync: async () => {
        at();
        this.#unsynced.delete(path);
      },
      truncate: async (_label, size) => {
        at();
        this.#unsynced.add(path);
        call('truncate', path, () => ftruncateSync(fd, size));
      },
      setTimes: async () => at(),
      setOwner: async () => at(),
      stat: async () => toStat(fstatSync(fd, { bigint: true })),
      close: async () => {
        // As with a file handle: the second time nothing happens.
        if (!open) return;
        open = false;
        this.descriptors--;
        closeSync(fd);
      },
    };
  }
}

/** Names in a folder; none if it does not exist. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch {
    return [];
  }
}

/** Path of one folder's entry that matches, if there is one. */
export function lastIn(folder: string): string | undefined {
  const name = namesIn(folder).findLast((each) => each.endsWith('.ltx'));
  return name === undefined ? undefined : join(folder, name);
}
