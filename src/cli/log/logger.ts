import { fileURLToPath } from 'node:url';
import type { LogAttributes, Logger, LogLevel } from '../../telemetry/index.ts';
import { formatJsonLine, formatText, prettyFormatter } from './formatters.ts';
import type { LogFormatter, LogPair, LogSource } from './value.ts';

const SEVERITY: Readonly<Record<LogLevel, number>> = {
  trace: -8,
  debug: -4,
  info: 0,
  warn: 4,
  error: 8,
};

/** A level by its name, in any case; `warning` is `warn`, anything unknown `info`. Spec: cli 19.1. */
export function parseLogLevel(name: string): LogLevel {
  const lower = name.toLowerCase();
  if (lower === 'warning') return 'warn';
  return lower === 'trace' || lower === 'debug' || lower === 'warn' || lower === 'error'
    ? lower
    : 'info';
}

export interface LoggerOptions {
  /** Empty counts as `text`. */
  readonly type: 'text' | 'json' | 'pretty' | '';
  readonly level: LogLevel;
  /** Adds file and line of each call. */
  readonly source?: boolean;
  /** True if the lines go to a terminal. */
  readonly terminal?: boolean;
  readonly now: () => number;
  readonly write: (line: string) => void;
}

/** The caller of the logger, from a stack trace. */
function callSite(): LogSource | undefined {
  const lines = (new Error().stack ?? '').split('\n').slice(1);
  const line = lines.find((entry) => !entry.includes(import.meta.url));
  const found = /at (?:(?:async )?(.+?) \()?(.+?):(\d+):\d+\)?$/.exec(line ?? '');
  if (found === null) return undefined;
  const [, name = '', place = '', number = '0'] = found;
  const file = place.startsWith('file:') ? fileURLToPath(place) : place;
  return { function: name, file, line: Number(number) };
}

function formatterOf(type: LoggerOptions['type'], terminal: boolean): LogFormatter {
  if (type === 'json') return formatJsonLine;
  return type === 'pretty' ? prettyFormatter(terminal) : formatText;
}

class LineLogger implements Logger {
  readonly #options: LoggerOptions;
  readonly #format: LogFormatter;
  readonly #context: readonly LogPair[];

  constructor(options: LoggerOptions, format: LogFormatter, context: readonly LogPair[]) {
    this.#options = options;
    this.#format = format;
    this.#context = context;
  }

  enabled(level: LogLevel): boolean {
    return SEVERITY[level] >= SEVERITY[this.#options.level];
  }

  log(level: LogLevel, message: string, attributes: LogAttributes = {}): void {
    if (!this.enabled(level)) return;
    const { now, source, write } = this.#options;
    const all = [...this.#context, ...Object.entries(attributes)];
    const place = source === true ? callSite() : undefined;
    write(this.#format({ time: now(), level, message, source: place, attributes: all }));
  }

  with(attributes: LogAttributes): Logger {
    const context = [...this.#context, ...Object.entries(attributes)];
    return new LineLogger(this.#options, this.#format, context);
  }
}

/** A logger that writes one line per record. Spec: cli 19. */
export function createLogger(options: LoggerOptions): Logger {
  return new LineLogger(options, formatterOf(options.type, options.terminal ?? false), []);
}
