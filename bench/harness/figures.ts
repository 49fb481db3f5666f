import { appendFileSync } from 'node:fs';
import { present } from '../../src/lib/assert.ts';
import { isWithin, TARGETS, type TargetId } from './targets.ts';

/** A measured ratio, or an amount in the target's unit; undefined where the machine cannot tell. */
export interface Figure {
  readonly id: TargetId;
  readonly ratio: number | undefined;
}

/** True if the run has to be short: `npm run bench -- --gate`. */
export const isQuick: boolean = process.env['LITESTREAM_BENCH_QUICK'] === '1';

/** Prints a ratio with its goal, and hands it to `tools/bench.ts`. */
export function figure(id: TargetId, ratio: number | undefined): void {
  const target = TARGETS[id];
  const sign = target.better === 'lower' ? '≤' : '≥';
  const { unit } = target;
  const value =
    ratio === undefined
      ? 'left out'
      : `${ratio.toFixed(2)}${unit === undefined ? '×' : ` ${unit}`}`;
  const met = ratio === undefined ? '' : isWithin(target, ratio, target.hard) ? 'met' : 'missed';
  process.stdout.write(
    `${id.padEnd(4)}${target.name.padEnd(40)}${value.padStart(9)}  ${unit === undefined ? 'of ' : ''}${target.limit}; goal ${sign} ${target.hard} ${met}\n`,
  );
  const file = process.env['LITESTREAM_BENCH_FIGURES'];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ id, ratio })}\n`);
}

/** The middle one. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return present(sorted[sorted.length >> 1], 'median');
}

/** The one that was disturbed least: on a shared machine medians of times are mostly other people's work. */
export function least(values: readonly number[]): number {
  return Math.min(...values);
}
