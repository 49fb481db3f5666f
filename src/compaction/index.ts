export { nextBoundary, previousBoundary } from './boundary.ts';
export { chainFrom, coverage, covers, newestOf, restorableTo, type LevelGap } from './chain.ts';
export {
  compactLevel,
  mergeRange,
  type CompactOptions,
  type CompactOutcome,
  type TemporaryFiles,
} from './compact.ts';
export { isDamage } from './damage.ts';
export {
  isMassDeletion,
  planLevel0Retention,
  planLevelRetention,
  planSnapshotRetention,
  type Level0Plan,
  type SnapshotPlan,
} from './retention.ts';
export { Spool, type SpoolOptions } from './spool.ts';
