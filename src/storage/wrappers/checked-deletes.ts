import { formatTxid } from '../../formats/ltx/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { FileKey, ReplicaClient } from '../contract.ts';
import { forwarding } from './forwarding.ts';

/** Listings may lag behind so long. */
const SETTLED_AFTER_MS = 60_000;
const TELL_EVERY_MS = 3_600_000;
/** Deleted files that are remembered. */
const REMEMBERED_MAX = 2000;

export interface CheckedDeletesPorts {
  readonly clock: Clock;
  readonly logger: Logger;
}

function nameOf({ level, minTxid, maxTxid }: FileKey): string {
  return `${level}/${formatTxid(minTxid)}-${formatTxid(maxTxid)}`;
}

/**
 * The client, with a look in its listings for files that it has deleted: a store that only says so would fill up unseen. Costs no
 * request. A warning at most once an hour.
 */
export function checkedDeletes(
  client: ReplicaClient,
  { clock, logger }: CheckedDeletesPorts,
): ReplicaClient {
  /** Name, and when the store said that the file is gone. */
  const deleted = new Map<string, number>();
  let toldAt = -Infinity;

  const tell = (key: FileKey, count: number): void => {
    if (clock.monotonic() - toldAt < TELL_EVERY_MS) return;
    toldAt = clock.monotonic();
    logger.log('warn', 'the store lists files that it has reported as deleted', {
      key: client.objectKey?.(key) ?? nameOf(key),
      count,
      hint: 'look for a retention lock, versions or a rule of the bucket; a lifecycle rule longer than the retention can delete instead',
    });
  };

  return forwarding(client, {
    async *list(level, options) {
      const before = clock.monotonic() - SETTLED_AFTER_MS;
      const seen = new Set<string>();
      let first: FileKey | undefined;
      for await (const file of client.list(level, options)) {
        const at = deleted.size === 0 ? undefined : deleted.get(nameOf(file));
        if (at !== undefined && at <= before) {
          first ??= file;
          seen.add(nameOf(file));
        }
        yield file;
      }
      if (first !== undefined) tell(first, seen.size);
      if (options?.seek !== undefined) return;
      for (const [name, at] of deleted) {
        if (at <= before && name.startsWith(`${level}/`) && !seen.has(name)) deleted.delete(name);
      }
    },
    async write(key, source, options) {
      deleted.delete(nameOf(key));
      return await client.write(key, source, options);
    },
    async delete(keys, options) {
      await client.delete(keys, options);
      for (const key of keys) deleted.set(nameOf(key), clock.monotonic());
      for (const name of deleted.keys()) {
        if (deleted.size <= REMEMBERED_MAX) break;
        deleted.delete(name);
      }
    },
  });
}
