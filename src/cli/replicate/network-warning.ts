import { dirname } from 'node:path';
import { findNetworkFileSystem } from '../../lib/network-file-system.ts';
import type { Logger } from '../../telemetry/index.ts';

/**
 * Warns once per folder about databases where SQLite's locks or shared memory cannot be relied on. A folder that cannot be asked is
 * passed over. Spec: failures OPS-15.
 */
export async function warnOfNetworkFileSystems(
  databases: readonly { readonly path: string }[],
  logger: Logger,
  find: (path: string) => Promise<string | undefined> = findNetworkFileSystem,
): Promise<void> {
  for (const folder of new Set(databases.map(({ path }) => dirname(path)))) {
    const name = await find(folder).catch(() => undefined);
    if (name === undefined) continue;
    logger.log('warn', 'database is on a network file system, where WAL mode may corrupt it', {
      path: folder,
      type: name,
      hint: 'keep the database on a local disk',
    });
  }
}
