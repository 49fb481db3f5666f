import { join } from 'node:path';
import { formatTxid } from '../formats/ltx/index.ts';
import type { FileSystem } from '../lib/file-system.ts';
import type { VerifyReport } from './report.ts';

const NAME = 'verify.json';
const BYTES_MAX = 1 << 20;

/** What is remembered of the last verification of one replica, between processes. */
export interface VerifyRecord {
  /** Name of the replica. */
  readonly replica: string;
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
  readonly result: 'ok' | 'damage';
  /** The TXID that the test restore gave, in hex; empty without one. */
  readonly txid: string;
  /** The first thing that is wrong; empty if nothing is. */
  readonly message: string;
}

/** A report in short. */
export function recordOf(replica: string, report: VerifyReport): VerifyRecord {
  const { findings, ok, startedAt, verifiedTxid } = report;
  const first = findings.find(({ severity }) => severity === 'damage');
  return {
    replica,
    at: startedAt,
    result: ok ? 'ok' : 'damage',
    txid: verifiedTxid === undefined ? '' : formatTxid(verifiedTxid),
    message: first?.message ?? '',
  };
}

/** The last verifications of a database's replicas; none if there are no readable notes in its metadata folder. */
export async function readRecords(
  fileSystem: FileSystem,
  metaPath: string,
): Promise<readonly VerifyRecord[]> {
  try {
    const file = await fileSystem.open('verify:open-record', join(metaPath, NAME), 'read');
    try {
      const bytes = new Uint8Array(BYTES_MAX);
      const length = await file.read('verify:read-record', bytes, 0);
      const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes.subarray(0, length)));
      return Array.isArray(parsed) ? parsed.filter(isRecord) : [];
    } finally {
      await file.close();
    }
  } catch {
    return [];
  }
}

function isRecord(value: unknown): value is VerifyRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { at, message, replica, result, txid } = value as Partial<Record<string, unknown>>;
  const texts = [message, replica, txid].every((text) => typeof text === 'string');
  return texts && Number.isFinite(at) && (result === 'ok' || result === 'damage');
}

/** Notes a verification in the metadata folder, if there is one. Best effort: what is not noted is checked again. */
export async function writeRecord(
  fileSystem: FileSystem,
  metaPath: string,
  record: VerifyRecord,
): Promise<void> {
  const path = join(metaPath, NAME);
  const temporary = `${path}.tmp`;
  try {
    if ((await fileSystem.stat('verify:stat-meta', metaPath)) === undefined) return;
    const others = await readRecords(fileSystem, metaPath);
    const all = [...others.filter(({ replica }) => replica !== record.replica), record];
    const file = await fileSystem.open('verify:open-record', temporary, 'create', 0o644);
    try {
      const text = `${JSON.stringify(all, undefined, 2)}\n`;
      await file.write('verify:write-record', new TextEncoder().encode(text), 0);
    } finally {
      await file.close();
    }
    await fileSystem.rename('verify:rename-record', temporary, path);
  } catch {
    // See above.
  }
}
