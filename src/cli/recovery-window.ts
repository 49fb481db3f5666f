import { formatDuration } from '../lib/go-duration.ts';
import type { Clock } from '../lib/clock.ts';
import { collect, type FileInfo, type ReplicaClient } from '../storage/index.ts';
import { formatSize, formatTime } from './output/format.ts';

const SNAPSHOT_LEVEL = 9;
const SAMPLE_BYTES = 1 << 20;

/** Restore points of one level. Times as RFC 3339. */
interface LevelWindow {
  readonly level: number;
  readonly points: number;
  readonly from: string;
  readonly to: string;
}

/** What a replica can be restored to, as far as a listing tells: `verify` proves it. Times as RFC 3339. */
export interface RecoveryWindow {
  readonly from: string;
  readonly to: string;
  readonly last_snapshot?: string;
  readonly levels: readonly LevelWindow[];
}

function timesOf(files: readonly FileInfo[]): [first: number, last: number] {
  let [first, last] = [Infinity, -Infinity];
  for (const { createdAt } of files) {
    first = Math.min(first, createdAt);
    last = Math.max(last, createdAt);
  }
  return [first, last];
}

/** Of the files of all levels; undefined if none of them begins a history. Spec: failures CFG-10. */
export function recoveryWindow(files: readonly FileInfo[]): RecoveryWindow | undefined {
  const begins = files.filter(({ minTxid }) => minTxid === 1n);
  if (begins.length === 0) return undefined;
  const levels: LevelWindow[] = [];
  for (let level = 0; level <= SNAPSHOT_LEVEL; level++) {
    const own = files.filter((file) => file.level === level);
    if (own.length === 0) continue;
    const [first, last] = timesOf(own);
    levels.push({ level, points: own.length, from: formatTime(first), to: formatTime(last) });
  }
  const snapshot = levels.find(({ level }) => level === SNAPSHOT_LEVEL);
  return {
    from: formatTime(timesOf(begins)[0]),
    to: formatTime(timesOf(files)[1]),
    ...(snapshot === undefined ? {} : { last_snapshot: snapshot.to }),
    levels,
  };
}

function spacing({ from, points, to }: LevelWindow): string {
  if (points < 2) return '';
  const seconds = Math.round((Date.parse(to) - Date.parse(from)) / 1000 / (points - 1));
  return seconds < 1
    ? ', less than a second apart'
    : `, about ${formatDuration(seconds * 1000)} apart`;
}

/** Lines for people: the window, and the granularity of each level. */
export function recoveryText(window: RecoveryWindow): string {
  const { from, last_snapshot: snapshot, levels, to } = window;
  const last = snapshot === undefined ? 'no snapshot' : `last snapshot ${snapshot}`;
  const lines = levels.map((entry) => {
    const name = entry.level === SNAPSHOT_LEVEL ? 'snapshots' : `level ${entry.level}`;
    const points = entry.points === 1 ? '1 restore point' : `${entry.points} restore points`;
    return `  ${name}: ${points} since ${entry.from}${spacing(entry)}`;
  });
  return `restorable from ${from} to ${to}, ${last}\n${lines.join('\n')}\n`;
}

/**
 * What a restore of these files takes: how much is to be fetched, and how long that may take. The speed is measured on the beginning of
 * the largest file; one that is too small to measure says nothing of the time.
 */
export async function fetchText(
  files: readonly FileInfo[],
  client: ReplicaClient,
  clock: Clock,
): Promise<string> {
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const what = `to fetch: ${files.length === 1 ? '1 file' : `${files.length} files`}, ${formatSize(bytes)}`;
  const [largest] = files.toSorted((a, b) => b.size - a.size);
  if (largest === undefined || largest.size < SAMPLE_BYTES) return `${what}\n`;
  const bytesPerMs = await speed(largest, client, clock);
  if (bytesPerMs === undefined) return `${what}\n`;
  const seconds = Math.max(1, Math.ceil(bytes / bytesPerMs / 1000));
  const rate = formatSize(Math.round(bytesPerMs * 1000));
  return `${what}, about ${formatDuration(seconds * 1000)} at ${rate}/s\n`;
}

/** Bytes in a millisecond; undefined if the file cannot be read, which a restore will say. */
async function speed(
  file: FileInfo,
  client: ReplicaClient,
  clock: Clock,
): Promise<number | undefined> {
  const began = clock.monotonic();
  try {
    const sample = await collect(client.read(file, { offset: 0, size: SAMPLE_BYTES }));
    return sample.length / Math.max(1, clock.monotonic() - began);
  } catch {
    return undefined;
  }
}
