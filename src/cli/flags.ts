import { LitestreamError } from '../lib/errors.ts';
import { durationMs, formatDuration, parseDuration } from '../lib/go-duration.ts';
import { quote } from '../lib/go-quote.ts';

/** One flag: its default, how a value is read, and what the usage text says. */
export interface Flag<T> {
  readonly value: T;
  /** True if the flag stands alone: it never takes the next argument. */
  readonly alone: boolean;
  /** Reads a value. @throws BadFlagValue with the reason that follows `invalid value "x" for flag -y: ` */
  readonly parse: (text: string) => T;
  /** Word for the value in the usage text; empty for booleans. */
  readonly placeholder: string;
  readonly help: string;
}

export type Flags = Readonly<Record<string, Flag<unknown>>>;

/** The values of a set of flags. */
export type FlagValues<F extends Flags> = {
  readonly [Name in keyof F]: F[Name] extends Flag<infer T> ? T : never;
};

export interface ParsedFlags<F extends Flags> {
  readonly values: FlagValues<F>;
  /** Names of the flags that were given. */
  readonly given: ReadonlySet<string>;
  readonly positionals: readonly string[];
}

/** Says why a value is refused. */
export class BadFlagValue extends Error {
  readonly forBoolean: boolean;
  constructor(reason: string, forBoolean = false) {
    super(reason);
    this.forBoolean = forBoolean;
  }
}

/** A wrong flag: the usage text is shown with it. */
export class FlagError extends LitestreamError {
  constructor(message: string) {
    super('ERR_USAGE', message);
  }
}

/** `-h` or `-help` was given. */
export class HelpRequest extends Error {}

const TRUE_WORDS: ReadonlySet<string> = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);
const FALSE_WORDS: ReadonlySet<string> = new Set(['0', 'f', 'F', 'false', 'FALSE', 'False']);
const INT_MAX = (1n << 63n) - 1n;
const INTEGER_FORMS: readonly RegExp[] = [
  /^0x(?:_?[0-9a-f])+$/i,
  /^0b(?:_?[01])+$/i,
  /^0o?(?:_?[0-7])+$/i,
  /^(?:0|[1-9](?:_?\d)*)$/,
];

export function boolFlag(help: string): Flag<boolean> {
  return {
    value: false,
    alone: true,
    placeholder: '',
    help,
    parse(text) {
      if (TRUE_WORDS.has(text)) return true;
      if (FALSE_WORDS.has(text)) return false;
      throw new BadFlagValue('parse error', true);
    },
  };
}

export function stringFlag(placeholder: string, help: string, value = ''): Flag<string> {
  return { value, alone: false, placeholder, help, parse: (text) => text };
}

/** Decimal, `0x`, `0o`, `0b` or leading-zero octal, with `_` between digits. */
export function intFlag(placeholder: string, help: string, value: number): Flag<number> {
  return {
    value,
    alone: false,
    placeholder,
    help: `${help} (default ${value})`,
    parse: parseInteger,
  };
}

function parseInteger(text: string): number {
  const sign = text.startsWith('-') ? -1n : 1n;
  const digits = text.replace(/^[+-]/, '');
  if (!INTEGER_FORMS.some((form) => form.test(digits))) throw new BadFlagValue('parse error');
  const plain = digits.replaceAll('_', '').replace(/^0(?=\d)/, '0o');
  const value = sign * BigInt(plain);
  if (value > INT_MAX || value < -INT_MAX - 1n) throw new BadFlagValue('value out of range');
  return Number(value);
}

/** The value is in milliseconds. */
export function durationFlag(help: string, ms: number): Flag<number> {
  return {
    value: ms,
    alone: false,
    placeholder: 'DURATION',
    help: `${help} (default ${formatDuration(ms)})`,
    parse(text) {
      const ns = parseDuration(text);
      if (ns === undefined) throw new BadFlagValue('parse error');
      return durationMs(ns);
    },
  };
}

interface Word {
  readonly name: string;
  readonly value: string | undefined;
}

/** Takes `-name`, `--name` or `-name=value` apart; undefined for a positional argument. */
function splitWord(word: string): Word | undefined {
  if (word.length < 2 || !word.startsWith('-')) return undefined;
  const body = word.slice(word.startsWith('--') ? 2 : 1);
  if (body === '' || body.startsWith('-') || body.startsWith('=')) {
    throw new FlagError(`bad flag syntax: ${word}`);
  }
  const equals = body.indexOf('=', 1);
  if (equals < 0) return { name: body, value: undefined };
  return { name: body.slice(0, equals), value: body.slice(equals + 1) };
}

function readValue(flag: Flag<unknown>, name: string, text: string): unknown {
  try {
    return flag.parse(text);
  } catch (error) {
    if (!(error instanceof BadFlagValue)) throw error;
    const { message: reason, forBoolean } = error;
    throw new FlagError(
      forBoolean
        ? `invalid boolean value ${quote(text)} for -${name}: ${reason}`
        : `invalid value ${quote(text)} for flag -${name}: ${reason}`,
    );
  }
}

/** The text of a flag's value: after `=`, or the next argument. */
function valueText(flag: Flag<unknown>, word: Word, rest: string[]): string {
  if (word.value !== undefined) return word.value;
  if (flag.alone) return 'true';
  const next = rest.shift();
  if (next === undefined) throw new FlagError(`flag needs an argument: -${word.name}`);
  return next;
}

/**
 * Parses flags up to the first positional argument, a lone `-`, or `--`. The last occurrence of a flag wins.
 *
 * @throws FlagError with the reference's texts; {@link HelpRequest} for `-h` and `-help`.
 *
 * Spec: cli 1.1.
 */
export function parseFlags<F extends Flags>(flags: F, args: readonly string[]): ParsedFlags<F> {
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(flags)) values[name] = flag.value;
  const given = new Set<string>();
  const rest = [...args];
  for (;;) {
    const [first] = rest;
    if (first === undefined) break;
    if (first === '--') {
      rest.shift();
      break;
    }
    const word = splitWord(first);
    if (word === undefined) break;
    rest.shift();
    const flag = Object.hasOwn(flags, word.name) ? flags[word.name] : undefined;
    if (flag === undefined) {
      if (word.name === 'h' || word.name === 'help') throw new HelpRequest();
      throw new FlagError(`flag provided but not defined: -${word.name}`);
    }
    values[word.name] = readValue(flag, word.name, valueText(flag, word, rest));
    given.add(word.name);
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each value came from its flag's default or parser
  return { values: values as FlagValues<F>, given, positionals: rest };
}
