export type { FollowOptions, FollowResult } from './follow.ts';
export { followReplica } from './on-need.ts';
export { isEmptyReplica, planRestore, type PlanOptions, timeBounds } from './backups.ts';
export { ReplicaCatalog, type CatalogOptions } from './catalog.ts';
export type { RestorePlan, RestoreTarget, TimeBounds } from './plan.ts';
export { checkOutputPath, sidecarPaths } from './output.ts';
export {
  restoreDatabase,
  type RestoreOptions,
  type RestoreProgress,
  type RestoreResult,
} from './restore.ts';
