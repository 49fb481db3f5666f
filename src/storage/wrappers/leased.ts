import type { ReplicaClient } from '../contract.ts';
import type { LeaseKeeper } from '../lease-keeper.ts';
import { forwarding } from './forwarding.ts';

/** The client, with a lease that every write and deletion needs. Reading needs none. Spec: design B2. */
export function leased(client: ReplicaClient, keeper: LeaseKeeper): ReplicaClient {
  return forwarding(client, {
    beginWriting: (options) => keeper.hold(options?.signal),
    write: (key, source, options) =>
      keeper.guard(options?.signal, (signal) => client.write(key, source, { ...options, signal })),
    delete: (keys, options) =>
      keeper.guard(options?.signal, (signal) => client.delete(keys, { ...options, signal })),
    deleteAll: (options) =>
      keeper.guard(options?.signal, (signal) => client.deleteAll({ ...options, signal })),
    close: async () => {
      await keeper.close();
      await client.close();
    },
  });
}
