/** A decoded text, or why it cannot be decoded, in the reference's words. */
export type Decoded =
  { readonly ok: true; readonly text: string } | { readonly ok: false; readonly reason: string };

/** Percent-decodes UTF-8. `+` stays. */
export function percentDecode(text: string): Decoded {
  const bad = /%(?![0-9A-Fa-f]{2})[^]{0,2}/.exec(text);
  if (bad !== null) return { ok: false, reason: `invalid URL escape "${bad[0]}"` };
  try {
    return { ok: true, text: decodeURIComponent(text) };
  } catch {
    return { ok: false, reason: 'percent-encoded text is not UTF-8' };
  }
}

const VALID_AS_WRITTEN = /^(?:[A-Za-z0-9\-_.~!$&'()*+,;=:@/[\]]|%[0-9A-Fa-f]{2})*$/;

/**
 * A path as the reference prints it when it makes a URL's text again: unchanged if every character may stand in a path,
 * otherwise decoded and encoded anew.
 */
export function encodeAsReference(encoded: string): string {
  if (VALID_AS_WRITTEN.test(encoded)) return encoded;
  const decoded = percentDecode(encoded);
  if (!decoded.ok) return encoded;
  return decoded.text.replace(/[^A-Za-z0-9\-_.~$&+,/:;=@]/gu, (character) =>
    [...new TextEncoder().encode(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  );
}
