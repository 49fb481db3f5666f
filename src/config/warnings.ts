import type { BareDuration, UnknownKey } from './decode.ts';
import type { ConfigWarning } from './types.ts';
import { unknownName } from './unknown-names.ts';

/** Keys of older releases, and what to write instead. Spec: config 10. */
const LEGACY: readonly (readonly [path: RegExp, hint: string])[] = [
  [
    /^dbs\[\d+\]\.replicas?(?:\[\d+\])?\.retention-check-interval$/,
    'retention is enforced with each snapshot: use snapshot-interval',
  ],
  [/^dbs\[\d+\]\.max-checkpoint-page-count$/, 'use truncate-page-n'],
  [/^levels\[\d+\]\.retention$/, 'use snapshot.retention'],
];

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
  const meant = unknownName(key, known);
  const hint = meant === undefined ? {} : { hint: meant };
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
