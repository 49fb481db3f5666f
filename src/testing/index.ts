export {
  MemoryClient,
  type MemoryClientOptions,
  type MemoryObject,
  type MemoryStore,
} from './memory-client.ts';
