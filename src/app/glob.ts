import { LitestreamError } from '../lib/errors.ts';

function syntaxError(): LitestreamError {
  return new LitestreamError('ERR_CONFIG', 'syntax error in pattern');
}

const CLASS = /^\[(\^?)((?:\\.|[^\\\]])+)\]/su;
const RANGE = /^(\\.|[^\\-])(?:-(\\.|[^\\-]))?/su;

function literal(character: string): string {
  return character.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&');
}

/** The inside of `[…]` as the inside of a regular expression's class. */
function classRanges(text: string): string {
  let out = '';
  let rest = text;
  while (rest !== '') {
    const found = RANGE.exec(rest);
    if (found === null) throw syntaxError();
    const [whole, low = '', high] = found;
    out += literal(low.replace(/^\\/, ''));
    if (high !== undefined) out += `-${literal(high.replace(/^\\/, ''))}`;
    rest = rest.slice(whole.length);
  }
  return out;
}

/** What the pattern's next part matches, and how many characters it has. */
function nextPart(pattern: string): readonly [expression: string, length: number] {
  const [first = ''] = pattern;
  if (first === '*') return ['.*', 1];
  if (first === '?') return ['.', 1];
  if (first === '\\') {
    const [, escaped] = Array.from(pattern);
    if (escaped === undefined) throw syntaxError();
    return [literal(escaped), 1 + escaped.length];
  }
  if (first !== '[') return [literal(first), first.length];
  const found = CLASS.exec(pattern);
  if (found === null) throw syntaxError();
  const [whole, negated = '', ranges = ''] = found;
  return [`[${negated}${classRanges(ranges)}]`, whole.length];
}

/**
 * A test for file names: `*`, `?`, `[a-z]`, `[^a]` and `\x`; no `**`, no braces. `*` matches leading dots.
 *
 * @throws LitestreamError `ERR_CONFIG` `syntax error in pattern`
 *
 * Spec: config 8.
 */
export function compileGlob(pattern: string): (name: string) => boolean {
  let expression = '';
  let rest = pattern;
  while (rest !== '') {
    const [part, length] = nextPart(rest);
    expression += part;
    rest = rest.slice(length);
  }
  try {
    const compiled = new RegExp(`^${expression}$`, 'su');
    return (name) => compiled.test(name);
  } catch {
    // A range the wrong way round.
    throw syntaxError();
  }
}
