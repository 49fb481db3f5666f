const SPECIAL = /^[*#$@!?\-0-9]/;
const NAME = /^\w+/;

/** What a `$` at the start of `text` (dollar excluded) refers to, and how many characters the reference takes. */
function reference(text: string): { readonly name: string; readonly length: number } | undefined {
  if (text.startsWith('{')) {
    const end = text.indexOf('}');
    // Without its closing brace a reference loses `${` and nothing more.
    return end < 0 ? { name: '', length: 1 } : { name: text.slice(1, end), length: end + 1 };
  }
  if (SPECIAL.test(text)) return { name: text.slice(0, 1), length: 1 };
  const name = NAME.exec(text)?.[0];
  return name === undefined ? undefined : { name, length: name.length };
}

/**
 * Replaces `$NAME` and `${NAME}` by what `lookup` says (undefined counts as empty). There is no default-value syntax, no
 * escape for `$`, and no recursion.
 *
 * Spec: config 3.
 */
export function expandEnv(text: string, lookup: (name: string) => string | undefined): string {
  let out = '';
  let position = 0;
  for (;;) {
    const dollar = text.indexOf('$', position);
    if (dollar < 0) return out + text.slice(position);
    out += text.slice(position, dollar);
    const found = reference(text.slice(dollar + 1));
    if (found === undefined) {
      out += '$';
      position = dollar + 1;
    } else {
      if (found.name !== '') out += lookup(found.name) ?? '';
      position = dollar + 1 + found.length;
    }
  }
}
