import { formatFileName, formatTxid, toTxid, type Txid } from '../formats/ltx/index.ts';
import type { FileInfo, FileKey } from '../storage/index.ts';
import type { Finding, LevelSummary, TxidRange } from './report.ts';

export const SNAPSHOT_LEVEL = 9;

const NEW_SNAPSHOT =
  'write a new snapshot: stop the daemon and run litestream replicate -once -force-snapshot, then start it again';

/** What a complete listing of a replica says by itself. */
export interface ChainReport {
  readonly findings: readonly Finding[];
  readonly levels: readonly LevelSummary[];
  /** Oldest and newest restore point. */
  readonly restorable: TxidRange | undefined;
}

interface Range {
  readonly from: bigint;
  readonly to: bigint;
}

function byStart(a: FileInfo, b: FileInfo): number {
  if (a.minTxid !== b.minTxid) return a.minTxid < b.minTxid ? -1 : 1;
  return a.maxTxid < b.maxTxid ? -1 : a.maxTxid > b.maxTxid ? 1 : a.level - b.level;
}

/** Ranges that the files leave open between `after` and `last`, ascending. */
function holes(files: readonly FileInfo[], after: bigint, last: bigint): Range[] {
  const found: Range[] = [];
  let reached = after;
  for (const { minTxid, maxTxid } of files.toSorted(byStart)) {
    if (minTxid > reached + 1n) found.push({ from: reached + 1n, to: minTxid - 1n });
    if (maxTxid > reached) reached = maxTxid;
  }
  if (reached < last) found.push({ from: reached + 1n, to: last });
  return found;
}

export function txidRange(from: bigint, to: bigint): TxidRange {
  return { from: toTxid(from), to: toTxid(to) };
}

/** `TXID 5` or `TXIDs 5 to 9`, in hex as everywhere. */
export function rangeText({ from, to }: Range): string {
  return from === to
    ? `TXID ${formatTxid(from)}`
    : `TXIDs ${formatTxid(from)} to ${formatTxid(to)}`;
}

/** Answers questions about the files of one listing. */
export class History {
  readonly files: readonly FileInfo[];
  readonly last: bigint;
  /** The file that the oldest restore point needs; undefined if nothing can be restored. */
  readonly base: FileInfo | undefined;
  readonly #snapshots: readonly FileInfo[];

  constructor(files: readonly FileInfo[]) {
    this.files = files;
    let last = 0n;
    let base: FileInfo | undefined;
    for (const file of files) {
      if (file.maxTxid > last) last = file.maxTxid;
      if (file.minTxid !== 1n) continue;
      if (base === undefined || file.maxTxid < base.maxTxid) base = file;
    }
    this.last = last;
    this.base = base;
    this.#snapshots = files
      .filter(({ level, minTxid }) => level === SNAPSHOT_LEVEL && minTxid === 1n)
      .toSorted((a, b) => (a.maxTxid < b.maxTxid ? -1 : 1));
  }

  /** The oldest snapshot's TXID: what is older is on its way out. */
  get oldestSnapshot(): bigint {
    return this.#snapshots[0]?.maxTxid ?? 0n;
  }

  /** The first snapshot at or behind a TXID. */
  snapshotFrom(txid: bigint): FileInfo | undefined {
    return this.#snapshots.find((file) => file.maxTxid >= txid);
  }

  isSnapshotEnd(txid: bigint): boolean {
    return this.#snapshots.some((file) => file.maxTxid === txid);
  }

  /** Restore points that something wrong at `txid` reaches: from there to the next snapshot behind it. */
  affectedFrom(txid: bigint): TxidRange {
    const next = this.snapshotFrom(txid + 1n);
    return txidRange(txid, next === undefined ? this.last : next.maxTxid - 1n);
  }

  /**
   * Restore points whose plan may include the file: from its end to where a file that covers it reaches further. Undefined if
   * another file is always preferred. Spec: replication 23.3.
   */
  affectedBy(file: FileInfo): TxidRange | undefined {
    let end = this.last + 1n;
    for (const other of this.files) {
      if (other.minTxid > file.minTxid || other.maxTxid < file.maxTxid) continue;
      if (other.maxTxid > file.maxTxid) {
        if (other.maxTxid < end) end = other.maxTxid;
      } else if (other.minTxid < file.minTxid || other.level > file.level) {
        return undefined;
      }
    }
    return txidRange(file.maxTxid, end - 1n);
  }

  /** What to do about a file that is wrong. */
  remedyFor(file: FileInfo): string {
    if (this.affectedBy(file) !== undefined) return this.remedyFrom(file.maxTxid);
    return 'no restore needs it: delete it from the replica, and look for the cause';
  }

  /** What to do about something wrong at `txid`. */
  remedyFrom(txid: bigint): string {
    const next = this.snapshotFrom(txid + 1n);
    if (next === undefined) return NEW_SNAPSHOT;
    return `restore points from TXID ${formatTxid(next.maxTxid)} on begin with a later snapshot; the affected ones go with retention`;
  }
}

/** Where the history leaves restore points out. */
function gapFinding(history: History, hole: Range): Finding | undefined {
  const { from, to } = hole;
  // A snapshot stands for the one transaction that it ends with.
  if (from === to && history.isSnapshotEnd(to)) return undefined;
  const next = history.snapshotFrom(to);
  const lostTo = next === undefined ? history.last : next.maxTxid - 1n;
  const affected = txidRange(from, lostTo);
  if (to <= history.oldestSnapshot) {
    return {
      kind: 'gap',
      severity: 'warning',
      message: `no file holds ${rangeText(hole)}, which are older than the oldest snapshot`,
      range: txidRange(from, to),
      affected,
      remedy: 'none needed if retention is removing old files; they have expired',
    };
  }
  return {
    kind: 'gap',
    severity: 'damage',
    message: `no file holds ${rangeText(hole)}`,
    range: txidRange(from, to),
    affected,
    remedy: history.remedyFrom(to - 1n),
  };
}

function levelName(level: number): string {
  return level === SNAPSHOT_LEVEL ? 'the snapshot level' : `level ${level}`;
}

/** How a finding names a file: `snapshot 0000…-0000….ltx` or `level 1 file 0000…-0000….ltx`. */
export function fileText({ level, minTxid, maxTxid }: FileKey): string {
  const name = formatFileName(minTxid, maxTxid);
  return level === SNAPSHOT_LEVEL ? `snapshot ${name}` : `level ${level} file ${name}`;
}

/** Gaps inside one level, and files that overlap. */
function levelFindings(history: History, level: number, missing: readonly Range[]): Finding[] {
  const files = history.files.filter((file) => file.level === level).toSorted(byStart);
  const findings: Finding[] = [];
  let last: FileInfo | undefined;
  for (const file of files) {
    if (last !== undefined && file.minTxid <= last.maxTxid) {
      findings.push({
        kind: 'overlap',
        severity: 'warning',
        message: `${levelName(level)} holds ${rangeText({ from: file.minTxid, to: file.maxTxid })} and, overlapping, ${rangeText({ from: last.minTxid, to: last.maxTxid })}`,
        level,
        range: txidRange(file.minTxid, file.maxTxid),
        remedy:
          'look for a second writer of this replica; restores use the file that reaches furthest',
      });
    }
    if (last !== undefined && file.minTxid > last.maxTxid + 1n) {
      const hole = { from: last.maxTxid + 1n, to: file.minTxid - 1n };
      const lost = missing.some((range) => range.from <= hole.to && hole.from <= range.to);
      if (!lost && hole.to > history.oldestSnapshot) findings.push(levelGap(level, hole));
    }
    if (last === undefined || file.maxTxid > last.maxTxid) last = file;
  }
  return findings;
}

function levelGap(level: number, hole: Range): Finding {
  return {
    kind: 'level-gap',
    severity: 'warning',
    message: `${levelName(level)} lacks ${rangeText(hole)}, which other levels hold`,
    level,
    range: txidRange(hole.from, hole.to),
    remedy: 'no restore point is lost; if nobody deleted files by hand, check what did',
  };
}

function nothingToBeginWith(history: History): Finding {
  return {
    kind: 'no-base',
    severity: 'damage',
    message: 'no snapshot, and no other file that begins at TXID 1: nothing can be restored',
    affected: txidRange(1n, history.last),
    remedy: NEW_SNAPSHOT,
  };
}

/** What each level holds, lowest level first. */
export function summarize(files: readonly FileInfo[]): LevelSummary[] {
  const levels: LevelSummary[] = [];
  for (let level = 0; level <= SNAPSHOT_LEVEL; level++) {
    const own = files.filter((file) => file.level === level);
    const [first] = own;
    if (first === undefined) continue;
    let minTxid: Txid = first.minTxid;
    let maxTxid: Txid = first.maxTxid;
    let size = 0;
    for (const file of own) {
      if (file.minTxid < minTxid) minTxid = file.minTxid;
      if (file.maxTxid > maxTxid) maxTxid = file.maxTxid;
      size += file.size;
    }
    levels.push({ level, files: own.length, size, minTxid, maxTxid });
  }
  return levels;
}

/**
 * Checks that every TXID from the oldest restore point on is in some file, and that no level has a hole. Pure.
 *
 * @param files - complete listings of all levels
 */
export function checkChain(files: readonly FileInfo[]): ChainReport {
  const history = new History(files);
  const levels = summarize(files);
  if (files.length === 0) return { findings: [], levels, restorable: undefined };
  const { base } = history;
  if (base === undefined) {
    return { findings: [nothingToBeginWith(history)], levels, restorable: undefined };
  }
  const increments = files.filter(({ level }) => level !== SNAPSHOT_LEVEL);
  const missing = holes(increments, base.maxTxid, history.last);
  const findings = missing.flatMap((hole) => gapFinding(history, hole) ?? []);
  for (const { level } of levels) {
    if (level !== SNAPSHOT_LEVEL) findings.push(...levelFindings(history, level, missing));
  }
  return { findings, levels, restorable: txidRange(base.maxTxid, history.last) };
}

/** One line of the reference's contiguity check. */
export interface ContiguityIssue {
  readonly level: number;
  readonly type: 'gap' | 'overlap' | 'unsorted';
  readonly message: string;
}

/** The reference's check of one level, in the order of its listing. Spec: replication 19. */
export function contiguityIssues(level: number, files: readonly FileInfo[]): ContiguityIssue[] {
  const issues: ContiguityIssue[] = [];
  let prev: FileInfo | undefined;
  for (const curr of files) {
    if (prev !== undefined) {
      const min = formatTxid(curr.minTxid);
      const max = formatTxid(prev.maxTxid);
      const expected = prev.maxTxid + 1n;
      const after = `prev.MaxTXID=${max}, curr.MinTXID=${min}`;
      if (curr.minTxid < prev.minTxid) {
        const message = `files out of order: curr.MinTXID=${min} < prev.MinTXID=${formatTxid(prev.minTxid)}`;
        issues.push({ level, type: 'unsorted', message });
      } else if (curr.minTxid > expected) {
        const message = `TXID gap: ${after} (expected ${formatTxid(expected)})`;
        issues.push({ level, type: 'gap', message });
      } else if (curr.minTxid < expected) {
        issues.push({ level, type: 'overlap', message: `TXID overlap: ${after}` });
      }
    }
    prev = curr;
  }
  return issues;
}
