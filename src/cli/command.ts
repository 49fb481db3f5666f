import { defaultConfigPath } from '../lib/default-config-path.ts';
import type { Clock } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { FileSystem } from '../lib/file-system.ts';
import {
  boolFlag,
  type Flag,
  type Flags,
  type ParsedFlags,
  parseFlags,
  stringFlag,
} from './flags.ts';

/** Environment variable of a child of this program: what it writes to standard error goes to standard output instead, in order. */
export const MERGED_OUTPUT = 'LITESTREAM_MERGED_OUTPUT';

/** Where text goes. Writes are not awaited: standard streams on POSIX are written at once. */
export interface TextSink {
  write(text: string): void;
  /** True on a terminal. */
  readonly terminal: boolean;
}

/** What a command sees of its process. */
export interface Io {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
}

/** One command of the program. */
export interface Command {
  readonly name: string;
  /** Synopsis lines, without `litestream`. */
  readonly synopsis: readonly string[];
  readonly flags: Flags;
  usage(io: Io): string;
  /** Parses the arguments and does the work. Returns the exit code. @throws FlagError, HelpRequest, LitestreamError */
  run(args: readonly string[], io: Io): Promise<number>;
}

/** One row of the command table. The command's code is loaded when it is used. */
export interface CommandRow {
  readonly name: string;
  readonly summary: string;
  /** Hidden commands are not listed in the main help. */
  readonly hidden?: boolean;
  readonly load: () => Promise<{ readonly command: Command }>;
}

export interface CommandDefinition<F extends Flags> {
  readonly name: string;
  /** Synopsis lines, without `litestream`. */
  readonly synopsis: readonly string[];
  readonly about: string;
  readonly flags: F;
  /** Text after the flags. */
  readonly more?: string;
  readonly run: (parsed: ParsedFlags<F>, io: Io) => Promise<number>;
}

/** An argument error with the line that says what to type instead. */
export function usageError(message: string, hint?: string): LitestreamError {
  return new LitestreamError('ERR_USAGE', message, hint === undefined ? {} : { hint });
}

/** @throws LitestreamError `ERR_USAGE` if there are more than `limit` arguments. */
export function limitPositionals(positionals: readonly string[], limit: number): void {
  if (positionals.length > limit) throw usageError('too many arguments');
}

/** The flags of every command that reads the configuration. */
export const configFlags: {
  readonly config: Flag<string>;
  readonly 'no-expand-env': Flag<boolean>;
} = {
  config: stringFlag('PATH', 'configuration file'),
  'no-expand-env': boolFlag('do not expand $VAR in the configuration file'),
};

function flagLines(flags: Flags, configPath: string): string[] {
  return Object.entries(flags).flatMap(([name, { placeholder, help }]) => {
    const shown = name === 'config' ? `${help} (default ${configPath})` : help;
    return [`    -${name}${placeholder === '' ? '' : ` ${placeholder}`}`, `        ${shown}`];
  });
}

/** Makes a command of its parts; the usage text is generated. Spec: cli 1.5. */
export function defineCommand<F extends Flags>(definition: CommandDefinition<F>): Command {
  const { name, synopsis, about, flags, more } = definition;
  return {
    name,
    synopsis,
    flags,
    usage({ environment }) {
      const lines = [
        ...synopsis.map((line, index) => `${index === 0 ? 'usage:' : '      '} litestream ${line}`),
        '',
        about,
        ...(Object.keys(flags).length === 0
          ? []
          : ['', 'Flags:', '', ...flagLines(flags, defaultConfigPath(environment))]),
        ...(more === undefined ? [] : ['', more]),
      ];
      return `${lines.join('\n')}\n`;
    },
    run: (args, io) => definition.run(parseFlags(flags, args), io),
  };
}
