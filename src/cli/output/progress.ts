import type { Clock } from '../../lib/clock.ts';
import type { RestoreProgress } from '../../restore/index.ts';
import type { TextSink } from '../command.ts';
import { formatSize } from './format.ts';

const REDRAW_MS = 100;
const WIDTH = 24;
const CLEAR_LINE = '\r\u001b[K';

/** Shows how far a restore is, on a terminal only. */
export interface ProgressBar {
  readonly update: (progress: RestoreProgress) => void;
  readonly clear: () => void;
}

const LABELS: Readonly<Record<RestoreProgress['phase'], string>> = {
  plan: 'planning',
  fetch: 'restoring',
  sync: 'syncing to disk',
  check: 'checking integrity',
};

function bar(done: number, total: number): string {
  const share = total > 0 ? Math.min(1, done / total) : 0;
  const filled = Math.round(share * WIDTH);
  return `[${'#'.repeat(filled)}${'.'.repeat(WIDTH - filled)}] ${Math.floor(share * 100)}%`;
}

function rate(done: number, ms: number): string {
  return ms < 500 ? '' : `  ${formatSize(Math.round(done / (ms / 1000)))}/s`;
}

/** A bar on `stderr`; silent where that is not a terminal. */
export function progressBar(stderr: TextSink, clock: Clock): ProgressBar {
  if (!stderr.terminal) return { update: () => undefined, clear: () => undefined };
  const started = clock.monotonic();
  let drawnAt = -Infinity;
  let phase = '';
  return {
    update(progress) {
      const now = clock.monotonic();
      if (progress.phase === phase && now - drawnAt < REDRAW_MS) return;
      drawnAt = now;
      phase = progress.phase;
      const { bytesDone, bytesTotal } = progress;
      const detail =
        progress.phase === 'fetch'
          ? ` ${bar(bytesDone, bytesTotal)} ${formatSize(bytesDone)} of ${formatSize(bytesTotal)}${rate(bytesDone, now - started)}`
          : '';
      stderr.write(`${CLEAR_LINE}${LABELS[progress.phase]}${detail}`);
    },
    clear() {
      if (phase !== '') stderr.write(CLEAR_LINE);
    },
  };
}
