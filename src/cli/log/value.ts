import { formatTxid } from '../../formats/ltx/index.ts';
import { durationNs, formatDuration } from '../../lib/go-duration.ts';
import { needsQuotes, quote } from '../../lib/go-quote.ts';
import { DurationValue, type LogLevel, type LogValue } from '../../telemetry/index.ts';

/** One attribute of a record, in order. Keys may repeat. */
export type LogPair = readonly [key: string, value: LogValue];

/** One record on its way to a handler. */
export interface LogRecord {
  /** Milliseconds since the Unix epoch. */
  readonly time: number;
  readonly level: LogLevel;
  readonly message: string;
  /** `FILE:LINE` of the call, if asked for. */
  readonly source?: LogSource | undefined;
  readonly attributes: readonly LogPair[];
}

export interface LogSource {
  readonly function: string;
  readonly file: string;
  readonly line: number;
}

/** Turns a record into its line, newline included. */
export type LogFormatter = (record: LogRecord) => string;

type Group = { readonly [key: string]: LogValue | undefined };

function isGroup(value: LogValue): value is Group {
  return (
    typeof value === 'object' &&
    !Array.isArray(value) &&
    !(value instanceof Error) &&
    !(value instanceof DurationValue)
  );
}

function bareText(value: Exclude<LogValue, Group>): string {
  if (typeof value === 'bigint') return formatTxid(value);
  if (value instanceof DurationValue) return formatDuration(value.ms);
  if (value instanceof Error) return value.message;
  if (Array.isArray(value)) return `[${value.join(' ')}]`;
  return String(value);
}

/** A text as it stands in a `key=value` line. */
export function quoted(text: string): string {
  return needsQuotes(text) ? quote(text) : text;
}

/** ` key=value …` of attributes; groups flatten with dots. Each pair goes through `write`. Spec: cli 19.2. */
export function textPairs(
  pairs: readonly LogPair[],
  write: (key: string, value: string) => string,
  prefix = '',
): string {
  let out = '';
  for (const [key, value] of pairs) {
    if (value === undefined) continue;
    out += isGroup(value)
      ? textPairs(Object.entries(value), write, `${prefix}${key}.`)
      : write(quoted(prefix + key), quoted(bareText(value)));
  }
  return out;
}

/** The JSON of one value: durations are integer nanoseconds, TXIDs and errors strings. Spec: cli 19.3. */
function jsonValue(value: Exclude<LogValue, undefined>): string {
  if (value instanceof DurationValue) return durationNs(value.ms).toString();
  if (typeof value === 'bigint' || value instanceof Error) return JSON.stringify(bareText(value));
  if (isGroup(value)) return `{${jsonPairs(Object.entries(value)).slice(1)}}`;
  return JSON.stringify(value);
}

/** `,"key":value …` of attributes; keys may repeat. */
export function jsonPairs(pairs: readonly LogPair[]): string {
  let out = '';
  for (const [key, value] of pairs) {
    if (value !== undefined) out += `,${JSON.stringify(key)}:${jsonValue(value)}`;
  }
  return out;
}
