/** Times in the forms that stores and protocols use. All numbers are milliseconds since the Unix epoch. */

const RFC_3339 =
  /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?([Zz]|[+-](?:[01]\d|2[0-4]):?[0-5]\d)$/;

function known(ms: number): number | undefined {
  return Number.isNaN(ms) ? undefined : ms;
}

/** RFC 3339 in UTC without trailing zeros: `2026-01-02T03:04:05.67Z`, `…:05Z`. Spec: backends 1.5. */
export function formatRfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0*Z$/, 'Z');
}

/** Any RFC 3339 time: every offset, any number of fractional digits (those below a millisecond are dropped). */
export function parseRfc3339(text: string): number | undefined {
  const found = RFC_3339.exec(text.trim());
  if (found === null) return undefined;
  const [, date = '', time = '', fraction = '', zone = ''] = found;
  const offset = zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone.toUpperCase();
  const ms = known(Date.parse(`${date}T${time}${offset}`));
  return ms === undefined ? undefined : ms + Number(fraction.padEnd(3, '0').slice(0, 3));
}

/** For libraries that want one. */
export function toDate(ms: number): Date {
  return new Date(ms);
}
