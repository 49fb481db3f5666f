import type { Txid } from '../formats/ltx/index.ts';

/** How bad a finding is: damage makes something unrestorable or wrong, a warning only tells. */
export type Severity = 'damage' | 'warning';

/**
 * What was found:
 * - `empty`, `no-base`: there is no backup, or nothing to begin a restore with;
 * - `gap`: transactions that no file holds; `level-gap`: that one level lacks and others hold; `overlap`: files of a level overlap;
 * - `corrupt`: the bytes of a file are wrong; `unreadable`: it is listed and cannot be read; `misnamed`: it is another file;
 * - `differs`: a file says other pages than those it was made of; `snapshot-differs`: a snapshot is not what its increments give;
 *   `snapshot-newer`: it holds pages of later transactions;
 * - `page-missing`, `page-size`: a state that the files lead to is incomplete, or of two page sizes;
 * - `checksum`: the database checksum that a file states is wrong;
 * - `not-restorable`, `integrity`: the restore drill failed, or SQLite found its result to be damaged;
 * - `source-differs`, `foreign`: the restored database is not the source, or another database altogether;
 *   `source-unproven`: they differ, but the source may have changed since.
 */
export type FindingKind =
  | 'checksum'
  | 'corrupt'
  | 'differs'
  | 'empty'
  | 'foreign'
  | 'gap'
  | 'integrity'
  | 'level-gap'
  | 'misnamed'
  | 'no-base'
  | 'not-restorable'
  | 'overlap'
  | 'page-missing'
  | 'page-size'
  | 'snapshot-differs'
  | 'snapshot-newer'
  | 'source-differs'
  | 'source-unproven'
  | 'unreadable';

/** A range of TXIDs, both ends included. */
export interface TxidRange {
  readonly from: Txid;
  readonly to: Txid;
}

/** One thing that is not as it should be. */
export interface Finding {
  readonly kind: FindingKind;
  readonly severity: Severity;
  /** What is wrong, in one line. */
  readonly message: string;
  /** Level of the file, if it is about one. */
  readonly level?: number | undefined;
  /** TXIDs of the file or of what is missing. */
  readonly range?: TxidRange | undefined;
  /** Restore points that are lost or wrong; undefined if none are. */
  readonly affected?: TxidRange | undefined;
  /** What to do, in one line. */
  readonly remedy: string;
}

/** One part of a verification. `skipped` was not asked for or not possible; `detail` says why. */
export interface CheckResult {
  readonly name: 'chain' | 'files' | 'restore' | 'source';
  readonly status: 'ok' | 'warning' | 'damage' | 'skipped';
  readonly detail: string;
}

/** What one level holds. */
export interface LevelSummary {
  readonly level: number;
  readonly files: number;
  /** Bytes. */
  readonly size: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
}

/** The outcome of one verification of one replica. */
export interface VerifyReport {
  /** True if no damage was found; there may be warnings. */
  readonly ok: boolean;
  readonly checks: readonly CheckResult[];
  readonly findings: readonly Finding[];
  readonly levels: readonly LevelSummary[];
  /** Oldest and newest restore point; undefined without LTX files. */
  readonly restorable: TxidRange | undefined;
  /** What the restore drill restored; undefined without one. */
  readonly verifiedTxid: Txid | undefined;
  readonly filesRead: number;
  readonly bytesRead: number;
  /** Milliseconds since the Unix epoch. */
  readonly startedAt: number;
  readonly durationMs: number;
}

/** The worse of the findings' severities. */
export function worst(findings: readonly Finding[]): 'ok' | Severity {
  if (findings.some(({ severity }) => severity === 'damage')) return 'damage';
  return findings.length > 0 ? 'warning' : 'ok';
}
