/** Nanoseconds per unit of the duration grammar. */
const UNITS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

const NS_PER_MS = 1_000_000n;
const NS_PER_S = 1_000_000_000n;
const NS_MAX = (1n << 63n) - 1n;

const TERM = /^(?:(\d+)(?:\.(\d*))?|\.(\d+))(ns|us|µs|μs|ms|s|m|h)/u;

/** One number with fraction digits, times a unit, truncated to whole nanoseconds. */
function scaled(whole: string, fraction: string, unit: bigint): bigint {
  const digits = fraction.slice(0, 18);
  return BigInt(whole) * unit + (BigInt(digits || '0') * unit) / 10n ** BigInt(digits.length);
}

/**
 * Parses a duration such as `1h30m`, `1.5s`, `-250ms` or `0`.
 *
 * @returns nanoseconds, or undefined if the text is not a duration or exceeds 64 bits (about 292 years).
 *
 * Spec: cli 20.3.
 */
export function parseDuration(text: string): bigint | undefined {
  const negative = text.startsWith('-');
  let rest = /^[+-]/.test(text) ? text.slice(1) : text;
  if (rest === '0') return 0n;
  if (rest === '') return undefined;
  let sum = 0n;
  while (rest !== '') {
    const found = TERM.exec(rest);
    if (found === null) return undefined;
    const [term, whole, fraction, fractionOnly, unit = ''] = found;
    sum += scaled(whole ?? '0', fraction ?? fractionOnly ?? '', UNITS[unit] ?? 0n);
    if (sum > NS_MAX) return undefined;
    rest = rest.slice(term.length);
  }
  return negative ? -sum : sum;
}

/** Milliseconds, with fraction, of a number of nanoseconds. */
export function durationMs(ns: bigint): number {
  return Number(ns / NS_PER_MS) + Number(ns % NS_PER_MS) / 1e6;
}

/** Whole nanoseconds of a number of milliseconds. */
export function durationNs(ms: number): bigint {
  const whole = Math.trunc(ms);
  return BigInt(whole) * NS_PER_MS + BigInt(Math.round((ms - whole) * 1e6));
}

/** `value / unit` with its fraction, trailing zeros removed. */
function decimal(value: bigint, unit: bigint): string {
  const width = unit.toString().length - 1;
  const fraction = (value % unit).toString().padStart(width, '0').replace(/0+$/, '');
  const whole = (value / unit).toString();
  return width === 0 || fraction === '' ? whole : `${whole}.${fraction}`;
}

/**
 * Formats milliseconds (fractions count, down to nanoseconds) as `1h2m3s`, `1m30s`, `1.5ms`, `0s`.
 *
 * Spec: cli 20.3.
 */
export function formatDuration(ms: number): string {
  return formatDurationNs(durationNs(ms));
}

/** As {@link formatDuration}, from nanoseconds. */
export function formatDurationNs(ns: bigint): string {
  if (ns < 0n) return `-${formatDurationNs(-ns)}`;
  if (ns === 0n) return '0s';
  if (ns < 1_000n) return `${ns}ns`;
  if (ns < NS_PER_MS) return `${decimal(ns, 1_000n)}µs`;
  if (ns < NS_PER_S) return `${decimal(ns, NS_PER_MS)}ms`;
  const minutes = ns / (60n * NS_PER_S);
  const seconds = `${decimal(ns % (60n * NS_PER_S), NS_PER_S)}s`;
  if (minutes === 0n) return seconds;
  if (minutes < 60n) return `${minutes}m${seconds}`;
  return `${minutes / 60n}h${minutes % 60n}m${seconds}`;
}
