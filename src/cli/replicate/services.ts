import process from 'node:process';
import {
  createDatabaseOptions,
  type DirectoryMonitor,
  startDirectoryMonitor,
  type StorePorts,
  type WatchedDirectory,
} from '../../app/index.ts';
import {
  type Config,
  normalizePath,
  registeredDatabase,
  resolveDatabase,
} from '../../config/index.ts';
import type { Store } from '../../engine/index.ts';
import { errorMessage } from '../../lib/errors.ts';
import { packageVersion } from '../../lib/version.ts';
import type { ControlServer } from '../../server/index.ts';
import type { Io } from '../command.ts';
import { localTime } from '../log/time.ts';

export interface ServicesInit {
  readonly config: Config;
  readonly io: Io;
  readonly ports: StorePorts;
}

/** What changes the set of databases while they are replicated: the control socket and watched folders. */
export class Services {
  readonly #init: ServicesInit;
  readonly #monitors: DirectoryMonitor[] = [];
  #control: ControlServer | undefined;

  constructor(init: ServicesInit) {
    this.#init = init;
  }

  /** Opens the control socket if it is configured. A failure is a log line. Spec: cli 5.2 step 9. */
  async startControl(store: Store): Promise<void> {
    const { config, io, ports } = this.#init;
    const { enabled, path, permissions } = config.socket;
    if (!enabled) return;
    const { createControlServer } = await import('../../server/index.ts');
    const server = await createControlServer({
      path,
      permissions,
      store,
      clock: io.clock,
      logger: ports.logger,
      random: ports.random,
      version: packageVersion(),
      pid: process.pid,
      argv: process.argv.slice(1),
      formatTime: (ms) => localTime(ms, 'as needed'),
      normalizePath,
      createDatabase: (database, url) =>
        createDatabaseOptions(registeredDatabase(database, url, config, io.environment), ports),
    });
    try {
      await server.start();
      this.#control = server;
    } catch (error) {
      ports.logger.log('warn', 'failed to start control server', { error: errorMessage(error) });
    }
  }

  /** Watches folders. @throws LitestreamError prefixed `start directory monitor for <dir>: ` */
  async watch(store: Store, directories: readonly WatchedDirectory[]): Promise<void> {
    const { io, ports } = this.#init;
    for (const { entry, known } of directories) {
      const monitor = await startDirectoryMonitor({
        entry,
        known,
        store,
        clock: io.clock,
        logger: ports.logger,
        createDatabase: (database) => createDatabaseOptions(resolveDatabase(database), ports),
      });
      this.#monitors.push(monitor);
    }
  }

  /** Ends everything, before the databases are closed. Never throws. */
  async close(): Promise<void> {
    for (const monitor of this.#monitors) await monitor.close();
    await this.#control?.close();
  }
}
