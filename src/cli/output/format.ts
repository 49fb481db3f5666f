const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'] as const;

/** A size for people: `0 B`, `4.1 kB`, `33 kB`. Spec: cli 20.4. */
export function formatSize(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  let exponent = 0;
  while (exponent < UNITS.length - 1 && bytes >= 1000 ** (exponent + 1)) exponent++;
  const value = Math.floor((bytes / 1000 ** exponent) * 10 + 0.5) / 10;
  const shown = value < 10 ? value.toFixed(1) : Math.floor(value + 0.5).toString();
  return `${shown} ${UNITS[exponent] ?? 'B'}`;
}

/** RFC 3339 in UTC with seconds: `2026-03-01T08:00:00Z`. Spec: cli 20.2. */
export function formatTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

const TIMESTAMP =
  /^(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:[.,](\d+))?(?:Z|([+-])([01]\d|2[0-4]):([0-5]\d))$/;

/**
 * Milliseconds since the Unix epoch of an RFC 3339 time (fractions below a millisecond are dropped), or undefined.
 *
 * Spec: cli 20.2.
 */
export function parseTimestamp(text: string): number | undefined {
  const found = TIMESTAMP.exec(text);
  if (found === null) return undefined;
  const part = (index: number): string => found[index] ?? '';
  const number = (index: number): number => Number(part(index) || '0');
  const [year, month, day] = [number(1), number(2), number(3)];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  const zone = (number(9) * 60 + number(10)) * (part(8) === '-' ? -1 : 1);
  const minutes = number(4) * 60 + number(5) - zone;
  const ms = Number(part(7).padEnd(3, '0').slice(0, 3));
  return date.getTime() + (minutes * 60 + number(6)) * 1000 + ms;
}

/** JSON for standard output: two blanks of indentation and a final newline. Spec: cli 20.5. */
export function formatJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
