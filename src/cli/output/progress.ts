import type { Clock, TimerHandle } from '../../lib/clock.ts';
import type { RestoreProgress } from '../../restore/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { TextSink } from '../command.ts';
import { formatSize } from './format.ts';

const REDRAW_MS = 100;
const LOG_MS = 10_000;
const WIDTH = 24;
const CLEAR_LINE = '\r\u001b[K';

/** Shows how far a restore is. */
export interface ProgressDisplay {
  readonly update: (progress: RestoreProgress) => void;
  /** Nothing is shown any more. */
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

/** A bar on a terminal; elsewhere a line in the log every 10 s, so that a restore that stands still can be told. Spec: failures RST-17. */
export function progressDisplay(stderr: TextSink, clock: Clock, logger: Logger): ProgressDisplay {
  return stderr.terminal ? progressBar(stderr, clock) : progressLog(clock, logger);
}

function progressLog(clock: Clock, logger: Logger): ProgressDisplay {
  let last: RestoreProgress | undefined;
  let timer: TimerHandle | undefined;
  let cleared = false;
  const arm = (): void => {
    timer = clock.timer(LOG_MS, () => {
      if (last === undefined) return;
      const { phase, bytesDone, bytesTotal } = last;
      logger.log('info', LABELS[phase], { phase, bytes: bytesDone, total: bytesTotal });
      arm();
    });
  };
  return {
    update(progress) {
      last = progress;
      if (timer === undefined && !cleared) arm();
    },
    clear() {
      cleared = true;
      timer?.cancel();
    },
  };
}

function progressBar(stderr: TextSink, clock: Clock): ProgressDisplay {
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
