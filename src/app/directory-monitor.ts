import { lstat, readdir } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { type DatabaseConfig, normalizePath } from '../config/index.ts';
import type { DatabaseOptions, Store } from '../engine/index.ts';
import type { Clock, TimerHandle } from '../lib/clock.ts';
import { errorMessage, wrapError } from '../lib/errors.ts';
import { isMissing } from '../lib/os-error.ts';
import type { Logger } from '../telemetry/index.ts';
import { databaseBelow, isSqliteFile } from './directory.ts';
import { FolderWatches } from './folder-watches.ts';
import { compileGlob } from './glob.ts';

/** Events are collected for so long: a burst of a thousand is one look. */
const COLLECT_MS = 250;
/** Everything is looked at as often as this, whatever events say; more often where a folder cannot be watched. */
const RESCAN_MS = 30_000;
const RESCAN_MS_UNWATCHED = 2000;
/** The same failure of the same path is said again after so long. */
const REPEAT_MS = 10 * 60_000;
/** Names beside a database that are no databases: SQLite's files, and the folders of local state. */
const SIDECAR = /-(?:wal|shm|journal)$/;
const META_FOLDER = /^\..*-litestream$/;

export interface DirectoryMonitorInit {
  /** A `dir` entry. */
  readonly entry: DatabaseConfig;
  readonly store: Store;
  readonly clock: Clock;
  /** Without attributes. */
  readonly logger: Logger;
  /** Paths of the databases that were found at the start. */
  readonly known: readonly string[];
  /** What a database's entry stands for. @throws LitestreamError */
  readonly createDatabase: (database: DatabaseConfig) => Promise<DatabaseOptions>;
}

/**
 * Keeps the databases of a watched folder registered: new ones are added, those whose file is gone are removed after a last sync. Events
 * only say where to look; what is true is what the folder holds then. A database that cannot be added or removed holds up no other.
 *
 * A file that the store has is never opened here: closing it again would drop SQLite's locks on it.
 *
 * Spec: config 8; failures CFG-06, OPS-24.
 */
export class DirectoryMonitor {
  readonly #init: DirectoryMonitorInit;
  readonly #root: string;
  readonly #logger: Logger;
  readonly #matches: (name: string) => boolean;
  readonly #watches: FolderWatches;
  /** Databases that this folder has brought. */
  readonly #known: Set<string>;
  /** Databases here that somebody else has registered: what becomes of them is not decided here. */
  readonly #foreign = new Set<string>();
  /** Paths with work in progress. */
  readonly #busy = new Set<string>();
  readonly #dirty = new Set<string>();
  readonly #said = new Map<string, { readonly text: string; readonly at: number }>();
  #timer: TimerHandle | undefined;
  #rescan: TimerHandle | undefined;
  #pass: Promise<void> = Promise.resolve();
  #closed = false;

  /** @throws LitestreamError `ERR_CONFIG` if the pattern is malformed */
  constructor(init: DirectoryMonitorInit) {
    const { entry, known, logger } = init;
    this.#init = init;
    this.#root = normalizePath(entry.dir);
    this.#logger = logger.with({ dir: this.#root });
    this.#matches = compileGlob(entry.pattern);
    this.#known = new Set(known);
    this.#watches = new FolderWatches({
      logger: this.#logger,
      onEvent: (...event) => this.#noticed(...event),
    });
  }

  /** Begins to watch, and looks once at everything that came before. */
  async start(): Promise<void> {
    this.#lookAt(this.#root);
    await this.#runPass();
    this.#armRescan();
  }

  /** Ends the watching. What is being added or removed is finished by the store. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#rescan?.cancel();
    this.#watches.close();
    await this.#pass;
  }

  #noticed(folder: string, kind: 'rename' | 'change', name: string | undefined): void {
    if (name !== undefined) {
      if (SIDECAR.test(name) || META_FOLDER.test(name)) return;
      // Checkpoints write to known files all the time; and only what is new may have become a database.
      if (kind === 'change' && (!this.#matches(name) || this.#known.has(join(folder, name))))
        return;
    }
    this.#lookAt(folder);
  }

  #lookAt(folder: string): void {
    if (this.#closed) return;
    this.#dirty.add(folder);
    this.#timer ??= this.#init.clock.timer(COLLECT_MS, () => {
      void this.#runPass();
    });
  }

  #armRescan(): void {
    const ms = this.#watches.complete ? RESCAN_MS : RESCAN_MS_UNWATCHED;
    this.#rescan = this.#init.clock.timer(ms, () => {
      for (const folder of [this.#root, ...this.#watches.folders]) this.#lookAt(folder);
      if (!this.#closed) this.#armRescan();
    });
  }

  /** One look at a time. */
  #runPass(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#pass = this.#pass.then(async () => {
      for (const folder of this.#dirty) {
        if (this.#closed) return;
        this.#dirty.delete(folder);
        await this.#look(folder);
      }
    });
    return this.#pass;
  }

  /** Compares one folder with what is known of it. Never throws. */
  async #look(folder: string): Promise<void> {
    // Before the listing: what appears after it is an event.
    this.#watches.add(folder);
    let entries;
    try {
      entries = await readdir(folder, { withFileTypes: true });
    } catch (error) {
      if (isMissing(error)) await this.#folderGone(folder);
      else this.#say('directory watcher error', folder, error);
      return;
    }
    const names = new Set(entries.map(({ name }) => name));
    for (const entry of entries) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) this.#foundFolder(path);
      else if (this.#isCandidate(path)) await this.#foundFile(path);
    }
    for (const path of this.#known) {
      if (dirname(path) === folder && !names.has(basename(path))) await this.#fileGone(path);
    }
    for (const path of this.#foreign) {
      if (dirname(path) === folder && !names.has(basename(path))) this.#foreign.delete(path);
    }
    for (const known of this.#watches.folders) {
      if (dirname(known) === folder && !names.has(basename(known))) await this.#folderGone(known);
    }
  }

  #foundFolder(path: string): void {
    const { entry } = this.#init;
    if (!entry.recursive || META_FOLDER.test(basename(path)) || this.#watches.has(path)) return;
    const metaRoot = entry.metaDir || entry.metaPath;
    if (metaRoot !== '' && normalizePath(metaRoot) === path) return;
    this.#dirty.add(path);
  }

  #isCandidate(path: string): boolean {
    const name = basename(path);
    if (SIDECAR.test(name) || !this.#matches(name)) return false;
    if (this.#known.has(path) || this.#busy.has(path)) return false;
    if (this.#init.store.has(path)) this.#foreign.add(path);
    return !this.#foreign.has(path);
  }

  async #foundFile(path: string): Promise<void> {
    try {
      if (this.#init.store.ownerOf(path) === undefined && !(await isSqliteFile(path))) return;
    } catch (error) {
      this.#say('directory watcher error', path, error);
      return;
    }
    this.#inBackground(path, () => this.#add(path));
  }

  async #add(path: string): Promise<void> {
    const { createDatabase, entry, store } = this.#init;
    let database: DatabaseOptions;
    try {
      database = await createDatabase(databaseBelow(entry, path));
    } catch (error) {
      this.#say('configure database', path, error);
      return;
    }
    try {
      if (!(await store.register(database))) return;
    } catch (error) {
      if (!this.#closed) this.#say('register database with store', path, error);
      return;
    }
    this.#known.add(path);
    this.#said.delete(path);
    this.#logger.log('info', 'added database to replication', { path });
  }

  async #folderGone(folder: string): Promise<void> {
    this.#watches.remove(folder);
    for (const watched of this.#watches.folders) {
      if (watched.startsWith(folder + sep)) this.#watches.remove(watched);
    }
    for (const path of this.#known) {
      if (path.startsWith(folder + sep)) await this.#fileGone(path);
    }
  }

  async #fileGone(path: string): Promise<void> {
    if (this.#busy.has(path)) return;
    try {
      await lstat(path);
      return;
    } catch (error) {
      if (!isMissing(error)) return;
    }
    this.#known.delete(path);
    this.#inBackground(path, () => this.#remove(path));
  }

  async #remove(path: string): Promise<void> {
    try {
      const { changed } = await this.#init.store.unregister(path);
      if (!changed) return;
    } catch (error) {
      this.#say('unregister database from store', path, error);
      return;
    }
    this.#said.delete(path);
    this.#logger.log('info', 'removed database from replication', { path });
  }

  /** Works on one path; then the folder is looked at again, for what happened meanwhile. */
  #inBackground(path: string, work: () => Promise<void>): void {
    this.#busy.add(path);
    const done = (): void => {
      this.#busy.delete(path);
      // What has failed waits for the next event, or the next look at everything.
      if (!this.#said.has(path)) this.#lookAt(dirname(path));
    };
    void work().finally(done);
  }

  /** A line per failure and path, not one per look. */
  #say(message: string, path: string, error: unknown): void {
    const text = `${message}: ${errorMessage(error)}`;
    const now = this.#init.clock.monotonic();
    const last = this.#said.get(path);
    if (last?.text === text && now - last.at < REPEAT_MS) return;
    this.#said.set(path, { text, at: now });
    this.#logger.log('error', message, { path, error: errorMessage(error) });
  }
}

/**
 * Watches the folder of a `dir` entry.
 *
 * @throws LitestreamError prefixed `start directory monitor for <dir>: `
 */
export async function startDirectoryMonitor(init: DirectoryMonitorInit): Promise<DirectoryMonitor> {
  try {
    const monitor = new DirectoryMonitor(init);
    await monitor.start();
    return monitor;
  } catch (error) {
    throw wrapError(`start directory monitor for ${normalizePath(init.entry.dir)}`, error);
  }
}
