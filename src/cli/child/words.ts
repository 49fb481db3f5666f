import { LitestreamError } from '../../lib/errors.ts';

/** What ends a command line when it stands outside quotes. */
const ENDS: ReadonlySet<string> = new Set([';', '&', '|', '<', '>']);
const BLANKS: ReadonlySet<string> = new Set([' ', '\t', '\n', '\r']);

function invalid(): LitestreamError {
  return new LitestreamError(
    'ERR_CONFIG',
    'cannot parse exec command: invalid command line string',
  );
}

/** Reads one command line into words, character by character. */
class Splitter {
  readonly #text: string;
  #position = 0;
  #words: string[] = [];
  /** Undefined between words; an empty quoted word is `''`. */
  #word: string | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  split(): string[] {
    for (;;) {
      const character = this.#next();
      if (character === undefined) break;
      if (BLANKS.has(character)) this.#finish();
      else if (ENDS.has(character)) {
        if (character === '>' && /^\d/.test(this.#word ?? '')) this.#word = undefined;
        break;
      } else this.#piece(character);
    }
    this.#finish();
    return this.#words;
  }

  #next(): string | undefined {
    const character = this.#text[this.#position];
    this.#position += 1;
    return character;
  }

  #finish(): void {
    if (this.#word !== undefined) this.#words.push(this.#word);
    this.#word = undefined;
  }

  #append(text: string): void {
    this.#word = (this.#word ?? '') + text;
  }

  #piece(character: string): void {
    switch (character) {
      case '\\':
        this.#append(this.#escaped());
        break;
      case "'":
        this.#append(this.#until("'"));
        break;
      case '"':
        this.#append(this.#doubleQuoted());
        break;
      case '`':
        // Nothing is substituted: the text stays, blanks included.
        this.#append(`\`${this.#until('`')}\``);
        break;
      case '(':
        if (this.#word?.endsWith('$') !== true) throw invalid();
        this.#append(`(${this.#until(')')})`);
        break;
      case ')':
        throw invalid();
      default:
        this.#append(character);
    }
  }

  #escaped(): string {
    const character = this.#next();
    if (character === undefined) throw invalid();
    return character;
  }

  /** The text up to a closing character, which is taken. */
  #until(end: string): string {
    const found = this.#text.indexOf(end, this.#position);
    if (found < 0) throw invalid();
    const text = this.#text.slice(this.#position, found);
    this.#position = found + 1;
    return text;
  }

  #doubleQuoted(): string {
    let out = '';
    for (;;) {
      const character = this.#next();
      if (character === undefined) throw invalid();
      if (character === '"') return out;
      out += character === '\\' ? this.#escaped() : character;
    }
  }
}

/**
 * Splits a command into words at blanks, as a shell would quote them but without any substitution. An unquoted `;`, `&`, `|`,
 * `<` or `>` ends the command line there.
 *
 * @throws LitestreamError `ERR_CONFIG` on unbalanced quotes or nothing to run.
 *
 * Spec: cli 18.
 */
export function splitCommand(text: string): readonly [program: string, ...args: readonly string[]] {
  const [program, ...args] = new Splitter(text).split();
  if (program === undefined) {
    throw new LitestreamError('ERR_CONFIG', 'cannot parse exec command: empty command');
  }
  return [program, ...args];
}
