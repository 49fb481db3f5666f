import { basename, dirname } from 'node:path';
import type { LogLevel } from '../../telemetry/index.ts';
import { clockTime, localTime } from './time.ts';
import { jsonPairs, type LogFormatter, type LogSource, quoted, textPairs } from './value.ts';

const NAMES: Readonly<Record<LogLevel, string>> = {
  trace: 'TRACE',
  debug: 'DEBUG',
  info: 'INFO',
  warn: 'WARN',
  error: 'ERROR',
};

/** `time=… level=… msg=… key=value …`. Spec: cli 19.2. */
export const formatText: LogFormatter = ({ time, level, message, source, attributes }) => {
  const place =
    source === undefined ? '' : ` source=${quoted(`${basename(source.file)}:${source.line}`)}`;
  const pairs = textPairs(attributes, (key, value) => ` ${key}=${value}`);
  const shown = localTime(time, 'three digits');
  return `time=${shown} level=${NAMES[level]}${place} msg=${quoted(message)}${pairs}\n`;
};

/** One JSON object; keys repeat where attributes do. Spec: cli 19.3. */
export const formatJsonLine: LogFormatter = ({ time, level, message, source, attributes }) => {
  const place = source === undefined ? '' : `,"source":${JSON.stringify(source)}`;
  const shown = localTime(time, 'as needed');
  const text = JSON.stringify(message);
  return `{"time":"${shown}","level":"${NAMES[level]}"${place},"msg":${text}${jsonPairs(attributes)}}\n`;
};

interface Look {
  readonly label: string;
  readonly color: string;
}

const LOOKS: Readonly<Record<LogLevel, Look>> = {
  trace: { label: 'TRACE', color: '' },
  debug: { label: 'DBG', color: '' },
  info: { label: 'INF', color: '\u001b[92m' },
  warn: { label: 'WRN', color: '\u001b[93m' },
  error: { label: 'ERR', color: '\u001b[91m' },
};
const FAINT = '\u001b[2m';
const RESET = '\u001b[0m';

function shortPlace({ file, line }: LogSource): string {
  return `${basename(dirname(file))}/${basename(file)}:${line}`;
}

/** `HH:MM:SS LVL message key=value …`, in colour on a terminal. Spec: cli 19.4. */
export function prettyFormatter(colored: boolean): LogFormatter {
  const paint = (color: string, text: string): string =>
    colored && color !== '' ? `${color}${text}${RESET}` : text;
  return ({ time, level, message, source, attributes }) => {
    const { label, color } = LOOKS[level];
    const place = source === undefined ? '' : ` ${paint(FAINT, shortPlace(source))}`;
    const pairs = textPairs(attributes, (key, value) => ` ${paint(FAINT, `${key}=`)}${value}`);
    return `${paint(FAINT, clockTime(time))} ${paint(color, label)}${place} ${message}${pairs}\n`;
  };
}
