/** What a YAML 1.1 scalar means. `text` is always the scalar as written. Spec: config 2. */
export type ScalarValue =
  | { readonly tag: '!!null'; readonly text: string }
  | { readonly tag: '!!bool'; readonly text: string; readonly value: boolean }
  | { readonly tag: '!!int'; readonly text: string; readonly value: bigint }
  | { readonly tag: '!!float'; readonly text: string; readonly value: number }
  | { readonly tag: '!!str'; readonly text: string };

const NULLS: ReadonlySet<string> = new Set(['', '~', 'null', 'Null', 'NULL']);
const TRUE_WORDS = /^(?:y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON)$/;
const FALSE_WORDS = /^(?:n|N|no|No|NO|false|False|FALSE|off|Off|OFF)$/;

const RADIX: readonly (readonly [pattern: RegExp, prefix: string])[] = [
  [/^0b[01]+$/i, '0b'],
  [/^0o?[0-7]+$/i, '0o'],
  [/^0x[0-9a-f]+$/i, '0x'],
  [/^(?:0|[1-9]\d*)$/, ''],
];
const FLOAT = /^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:e[-+]?\d+)?$/i;
const SPECIAL = /^([-+]?)\.(inf|nan)$/i;

/** A YAML 1.1 integer: decimal, `0x`, `0b`, `0o` or leading-zero octal, with `_` between digits. */
export function parseYamlInteger(text: string): bigint | undefined {
  const sign = text.startsWith('-') ? -1n : 1n;
  const digits = text.replace(/^[-+]/, '').replaceAll('_', '');
  for (const [pattern, prefix] of RADIX) {
    if (!pattern.test(digits)) continue;
    return sign * BigInt(prefix + digits.replace(/^0[box]?(?=.)/i, ''));
  }
  return undefined;
}

function parseYamlFloat(text: string): number | undefined {
  const special = SPECIAL.exec(text);
  if (special !== null) {
    if (special[2]?.toLowerCase() === 'nan') return NaN;
    return special[1] === '-' ? -Infinity : Infinity;
  }
  return FLOAT.test(text) ? Number(text.replaceAll('_', '')) : undefined;
}

/** Resolves a scalar. Only plain scalars without a tag are anything but strings. */
export function resolveScalar(text: string, plain: boolean): ScalarValue {
  if (!plain) return { tag: '!!str', text };
  if (NULLS.has(text)) return { tag: '!!null', text };
  if (TRUE_WORDS.test(text)) return { tag: '!!bool', text, value: true };
  if (FALSE_WORDS.test(text)) return { tag: '!!bool', text, value: false };
  const integer = parseYamlInteger(text);
  if (integer !== undefined) return { tag: '!!int', text, value: integer };
  const float = parseYamlFloat(text);
  if (float !== undefined) return { tag: '!!float', text, value: float };
  return { tag: '!!str', text };
}
