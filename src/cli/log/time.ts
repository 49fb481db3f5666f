function two(value: number): string {
  return value.toString().padStart(2, '0');
}

/** `+01:00`, or `Z` in UTC. */
function zone(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  if (minutes === 0) return 'Z';
  const absolute = Math.abs(minutes);
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(absolute / 60))}:${two(absolute % 60)}`;
}

/** `09:00:00`, local. */
export function clockTime(ms: number): string {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Local RFC 3339 time; `fraction` says how the milliseconds are shown. */
export function localTime(ms: number, fraction: 'three digits' | 'as needed'): string {
  const date = new Date(ms);
  const year = date.getFullYear().toString().padStart(4, '0');
  const day = `${year}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const digits = date.getMilliseconds().toString().padStart(3, '0');
  const shown = fraction === 'three digits' ? digits : digits.replace(/0+$/, '');
  return `${day}T${clockTime(ms)}${shown === '' ? '' : `.${shown}`}${zone(date)}`;
}
