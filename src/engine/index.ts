export type { ActivityPhase, ActivityReport } from './db/activity.ts';
export { Database } from './db/database.ts';
export type {
  DatabaseOptions,
  LevelOptions,
  Ports,
  ReplicaOptions,
  StoreOptions,
} from './options.ts';
export { MetaLock } from './db/meta-lock.ts';
export { Replica } from './replica/replica.ts';
export type {
  DatabaseObservation,
  DatabaseStatus,
  ReplicaObservation,
} from './store/observation.ts';
export type { RuntimeSyncResult, StopOptions } from './store/managed-database.ts';
export type { SyncResult } from './store/open-database.ts';
export { Store, type CloseOptions, type RuntimeResult, type SyncOptions } from './store/store.ts';
export {
  Watchdog,
  type DatabaseHealth,
  type HealthStatus,
  type WatchdogInit,
} from './store/watchdog.ts';
