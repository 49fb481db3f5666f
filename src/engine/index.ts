export { Database } from './db/database.ts';
export type {
  DatabaseOptions,
  LevelOptions,
  Ports,
  ReplicaOptions,
  StoreOptions,
} from './options.ts';
export { Replica } from './replica/replica.ts';
export type {
  DatabaseObservation,
  DatabaseStatus,
  ReplicaObservation,
} from './store/observation.ts';
export { Store, type CloseOptions, type SyncResult } from './store/store.ts';
