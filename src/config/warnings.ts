import type { BareDuration, UnknownKey } from './decode.ts';
import type { ConfigWarning } from './types.ts';

/** Keys of older releases, and what to write instead. Spec: config 10. */
const LEGACY: readonly (readonly [path: RegExp, hint: string])[] = [
  [/^dbs\[\d+\]\.replicas?(?:\[\d+\])?\.retention$/, 'use snapshot.retention'],
  [/^dbs\[\d+\]\.replicas?(?:\[\d+\])?\.retention-check-interval$/, 'use snapshot.retention'],
  [/^dbs\[\d+\]\.replicas?(?:\[\d+\])?\.snapshot-interval$/, 'use snapshot.interval'],
  [/^dbs\[\d+\]\.max-checkpoint-page-count$/, 'use truncate-page-n'],
  [/^levels\[\d+\]\.retention$/, 'use snapshot.retention'],
];

/** Keys of this program's own that do nothing yet. */
const PLANNED: readonly RegExp[] = [/^dbs\[\d+\]\.read-replicas$/];

/** Number of single-character insertions, deletions, replacements and neighbour swaps between two words. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
          ? (before[j - 2] ?? 0) + 1
          : Infinity;
      next.push(Math.min(replaced, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    before = row;
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The one known key that the word is probably meant to be. */
function closest(word: string, known: readonly string[]): string | undefined {
  const plain = word.toLowerCase().replaceAll('_', '-');
  const limit = plain.length < 5 ? 1 : 2;
  const near = known
    .map((key) => ({ key, distance: editDistance(plain, key) }))
    .filter(({ distance }) => distance <= limit)
    .toSorted((a, b) => a.distance - b.distance);
  const [first, second] = near;
  return first !== undefined && first.distance !== second?.distance ? first.key : undefined;
}

function isExempt({ path, anchored }: UnknownKey): boolean {
  if (anchored && !path.includes('.')) return true;
  return /^x-[^.]*$/.test(path) || /^(?:dbs\[\d+\]\.)?vfs$/.test(path);
}

function unknownKeyWarning({ path, key, known }: UnknownKey): ConfigWarning {
  const legacy = LEGACY.find(([pattern]) => pattern.test(path));
  if (legacy !== undefined) {
    return {
      message: 'ignoring unsupported configuration key',
      attributes: { key: path, hint: legacy[1] },
    };
  }
  if (PLANNED.some((pattern) => pattern.test(path))) {
    return {
      message: 'ignoring unsupported configuration key',
      attributes: { key: path, hint: 'not available in this version' },
    };
  }
  const meant = closest(key, known);
  const hint = meant === undefined ? {} : { hint: `did you mean ${meant}` };
  return { message: 'ignoring unknown configuration key', attributes: { key: path, ...hint } };
}

/** The WARN lines for what a file says and nothing reads. Spec: config 2 and 10. */
export function configWarnings(
  unknownKeys: readonly UnknownKey[],
  bareDurations: readonly BareDuration[],
): ConfigWarning[] {
  return [
    ...unknownKeys.filter((unknown) => !isExempt(unknown)).map(unknownKeyWarning),
    ...bareDurations.map(({ path, value }) => ({
      message: 'duration without unit means nanoseconds',
      logOnly: true,
      attributes: { key: path, value, hint: `write ${value}s for seconds` },
    })),
  ];
}
