export { followReplica, type FollowOptions, type FollowResult } from './follow.ts';
export { isEmptyReplica, timeBounds } from './backups.ts';
export { planRestore, type RestorePlan, type RestoreTarget, type TimeBounds } from './plan.ts';
export { checkOutputPath, sidecarPaths } from './output.ts';
export {
  restoreDatabase,
  type RestoreOptions,
  type RestoreProgress,
  type RestoreResult,
} from './restore.ts';
