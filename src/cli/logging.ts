import type { LoggingConfig } from '../config/index.ts';
import type { ConfigWarning } from '../config/index.ts';
import type { Logger } from '../telemetry/index.ts';
import type { Io } from './command.ts';
import { createLogger, type LoggerOptions, parseLogLevel } from './log/logger.ts';

/** The part of `logging` that a command may leave to the defaults. */
export interface LoggingChoice {
  readonly logging?: LoggingConfig | undefined;
  /** `replicate -log-level`; beats everything. */
  readonly level?: string | undefined;
  /** True with `-json`: standard output belongs to the result. */
  readonly toStderr?: boolean | undefined;
}

function isLogType(type: string): type is LoggerOptions['type'] {
  return type === 'text' || type === 'json' || type === 'pretty' || type === '';
}

/** The logger of a command. Precedence of the level: flag, `LOG_LEVEL`, file, info. Spec: cli 19. */
export function commandLogger(io: Io, choice: LoggingChoice = {}): Logger {
  const { logging, level, toStderr } = choice;
  const sink = toStderr === true || logging?.stderr === true ? io.stderr : io.stdout;
  const type = logging?.type ?? '';
  return createLogger({
    type: isLogType(type) ? type : '',
    level: parseLogLevel(level || io.environment['LOG_LEVEL'] || (logging?.level ?? '')),
    source: logging?.source ?? false,
    terminal: sink.terminal,
    now: () => io.clock.now(),
    write: (line) => sink.write(line),
  });
}

/** Writes what the configuration file says in vain. */
export function logConfigWarnings(logger: Logger, warnings: readonly ConfigWarning[]): void {
  for (const { message, attributes } of warnings) logger.log('warn', message, attributes);
}
