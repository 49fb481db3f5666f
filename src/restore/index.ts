export { followReplica, type FollowOptions, type FollowResult } from './follow.ts';
export {
  isEmptyReplica,
  planRestore,
  timeBounds,
  type RestorePlan,
  type RestoreTarget,
  type TimeBounds,
} from './plan.ts';
export { checkOutputPath, sidecarPaths } from './output.ts';
export {
  restoreDatabase,
  type RestoreOptions,
  type RestoreProgress,
  type RestoreResult,
} from './restore.ts';
