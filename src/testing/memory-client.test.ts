import { MemoryClient, type MemoryStore } from './memory-client.ts';
import { replicaClientSuite } from './replica-client-suite/index.ts';

replicaClientSuite('memory', () => {
  const store: MemoryStore = new Map();
  return Promise.resolve({
    open: (path) => Promise.resolve(new MemoryClient({ store, path })),
    putForeign: async (path, level, name, bytes) => {
      new MemoryClient({ store, path }).putForeign(level, name, bytes);
      await Promise.resolve();
    },
    keys: () => Promise.resolve([...store.keys()]),
    dispose: () => Promise.resolve(),
  });
});
