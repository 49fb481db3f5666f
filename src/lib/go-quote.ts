const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
};

/** Control, unassigned, private and surrogate code points, and every blank but the ordinary one. */
const UNPRINTABLE = /[\p{C}\p{Z}]/u;

function escapeCharacter(character: string): string {
  const short = SHORT[character];
  if (short !== undefined) return short;
  if (character === ' ' || !UNPRINTABLE.test(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, '0')}`;
  if (code >= 0xd800 && code <= 0xdfff) return '\\ufffd';
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, '0')}`;
  return `\\U${code.toString(16).padStart(8, '0')}`;
}

/** The text in double quotes; what cannot be printed is escaped (`\n`, `\x00`, `\u00a0`). */
export function quote(text: string): string {
  let out = '"';
  for (const character of text) out += escapeCharacter(character);
  return `${out}"`;
}

/** True if a text cannot stand bare as a `key=value` value: empty, or with a blank, `=`, `"` or an unprintable character. */
export function needsQuotes(text: string): boolean {
  return text === '' || /[\s="]/.test(text) || UNPRINTABLE.test(text);
}
