export { contiguityIssues, type ContiguityIssue } from './chain.ts';
export { readRecords, recordOf, writeRecord, type VerifyRecord } from './record.ts';
export type {
  CheckResult,
  Finding,
  FindingKind,
  LevelSummary,
  Severity,
  TxidRange,
  VerifyReport,
} from './report.ts';
export { liveSource, type LiveSourceOptions } from './live-source.ts';
export type { SourcePages, VerifySource } from './source.ts';
export { verifyReplica } from './on-need.ts';
export type { VerifyDepth, VerifyOptions, VerifyProgress } from './verify.ts';
