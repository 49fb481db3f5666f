const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** `Sun, 06 Nov 1994 08:49:37 GMT` in milliseconds since the Unix epoch; undefined for anything else. */
export function parseHttpDate(text: string): number | undefined {
  const found =
    /^(?:[A-Za-z]+,\s*)?([0-9]{1,2})[ -]([A-Za-z]{3})[ -]([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) (?:GMT|UTC|[+-]0000)$/.exec(
      text.trim(),
    );
  if (found === null) return undefined;
  const [, day, month = '', year, hour, minute, second] = found;
  const monthIndex = MONTHS.indexOf(month.toLowerCase());
  if (monthIndex < 0) return undefined;
  // oxlint-disable-next-line no-restricted-globals -- arithmetic on a given date
  return Date.UTC(
    Number(year),
    monthIndex,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
  );
}
