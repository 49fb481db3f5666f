export { checkIntegrity, type IntegrityMode, type IntegrityOptions } from './integrity.ts';
export { CheckpointWorker } from './checkpoint-worker.ts';
export type { CheckpointResult } from './connection.ts';
export {
  identify,
  PinnedFile,
  readDatabaseHeader,
  sameFile,
  type DescriptorSink,
  type FileIdentity,
} from './database-file.ts';
export { FollowedDatabase } from './follower.ts';
export type { FollowedPages, PageRun } from './follower-change.ts';
export { LiveDatabase, type LiveDatabaseOptions, type Replacement } from './live-database.ts';
export { WalApplier } from './wal-apply.ts';
export { hasWalResetFix, requireSafeSqlite, sqliteVersion } from './version.ts';
export { SourceView, type WalPosition } from './source-view.ts';
