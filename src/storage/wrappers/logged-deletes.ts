import type { Logger } from '../../telemetry/index.ts';
import type { ReplicaClient } from '../contract.ts';
import { forwarding } from './forwarding.ts';

/** The client, with a debug line for each file that it is about to delete. Spec: backends 1.10. */
export function loggedDeletes(client: ReplicaClient, logger: Logger): ReplicaClient {
  return forwarding(client, {
    async delete(keys, options) {
      if (logger.enabled('debug')) {
        for (const { level, minTxid, maxTxid } of keys) {
          const file = { level, minTxid, maxTxid };
          const key = client.objectKey?.(file);
          logger.log('debug', 'deleting ltx file', {
            level,
            minTXID: minTxid,
            maxTXID: maxTxid,
            ...(key === undefined ? { path: client.localPath?.(file) } : { key }),
          });
        }
      }
      await client.delete(keys, options);
    },
  });
}
