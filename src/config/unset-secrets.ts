import { expandEnv } from './expand-env.ts';
import type { ConfigWarning } from './types.ts';
import { yaml } from './yaml-package.ts';

/** Keys whose values nobody should see, and nobody misses until it is too late. */
const SECRET_KEY =
  /^(access-key-id|secret-access-key|account-key|sas-token|connection-string|(webdav-)?password|key-passphrase|sse-customer-key|jwt|seed|nkey|token)$/;

/** Stands where a variable has no value. The characters are not for anybody's use. */
const OPEN = '\u{f0000}';
const CLOSE = '\u{f0001}';
const MARK = new RegExp(`${OPEN}(.*?)${CLOSE}`, 'gu');

/**
 * One WARN for each variable without a value that a secret is made of. The file is read once more with a mark in its place.
 *
 * @param lookup - the value of a variable
 */
export function unsetSecretWarnings(
  text: string,
  lookup: (name: string) => string | undefined,
): ConfigWarning[] {
  let unset = 0;
  const marked = expandEnv(text, (name) => {
    const value = lookup(name);
    if (value === undefined) unset += 1;
    return value ?? `${OPEN}${name}${CLOSE}`;
  });
  if (unset === 0) return [];
  const warnings: ConfigWarning[] = [];
  const { isPair, isScalar, parseDocument, visit } = yaml();
  const document = parseDocument(marked, { version: '1.1', schema: 'failsafe', uniqueKeys: false });
  visit(document, {
    Scalar(place, { value }, ancestors) {
      const parent = ancestors.at(-1);
      if (place !== 'value' || !isPair(parent) || !isScalar(parent.key)) return;
      const key = String(parent.key.value);
      if (!SECRET_KEY.test(key)) return;
      for (const [, variable = ''] of String(value).matchAll(MARK)) {
        const message = 'variable in a secret is not set';
        warnings.push({ message, attributes: { key, variable } });
      }
    },
  });
  return warnings;
}
