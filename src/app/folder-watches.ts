import { type FSWatcher, watch } from 'node:fs';
import { errorMessage } from '../lib/errors.ts';
import { isMissing } from '../lib/os-error.ts';
import type { Logger } from '../telemetry/index.ts';

export interface FolderWatchesInit {
  readonly logger: Logger;
  /** Something happened to a name in a folder; `name` is undefined where the system does not tell. */
  readonly onEvent: (folder: string, kind: 'rename' | 'change', name: string | undefined) => void;
}

/** Watches on folders, one each. A folder that cannot be watched has to be looked at from time to time. */
export class FolderWatches {
  readonly #init: FolderWatchesInit;
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #unwatched = new Set<string>();
  #saidFailure = false;

  constructor(init: FolderWatchesInit) {
    this.#init = init;
  }

  /** Folders that are known, watched or not. */
  get folders(): readonly string[] {
    return [...this.#watchers.keys(), ...this.#unwatched];
  }

  /** True if every known folder is watched. */
  get complete(): boolean {
    return this.#unwatched.size === 0;
  }

  has(folder: string): boolean {
    return this.#watchers.has(folder) || this.#unwatched.has(folder);
  }

  /** Watches a folder, or tries again. Failures are a log line. */
  add(folder: string): void {
    if (this.#watchers.has(folder)) return;
    try {
      const watcher = watch(folder, { persistent: false }, (kind, name) => {
        this.#init.onEvent(folder, kind, name ?? undefined);
      });
      watcher.on('error', () => {
        // Its folder went away, or the system lost track.
        this.#forget(folder);
        this.#unwatched.add(folder);
        this.#init.onEvent(folder, 'rename', undefined);
      });
      this.#watchers.set(folder, watcher);
      this.#unwatched.delete(folder);
      this.#init.logger.log('debug', 'watching directory', { path: folder });
    } catch (error) {
      this.#unwatched.add(folder);
      if (this.#saidFailure || isMissing(error)) return;
      this.#saidFailure = true;
      const attributes = {
        path: folder,
        error: errorMessage(error),
        hint: 'it is looked at every few seconds instead; raise fs.inotify.max_user_watches',
      };
      this.#init.logger.log('error', 'add directory watch', attributes);
    }
  }

  remove(folder: string): void {
    this.#forget(folder);
    this.#unwatched.delete(folder);
  }

  close(): void {
    for (const folder of this.folders) this.remove(folder);
  }

  #forget(folder: string): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
  }
}
