/** One offer of a `WWW-Authenticate` header. */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const ITEM = /[\s,]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\[^])*)"|([^\s,"]*)))?/y;

/** Reads the offers of a server in their order. Several headers may be joined by commas. */
export function parseChallenges(header: string): Challenge[] {
  const found: { scheme: string; parameters: Map<string, string> }[] = [];
  const item = new RegExp(ITEM);
  for (;;) {
    const match = item.exec(header);
    if (match === null) return found;
    const [, name = '', quoted, plain] = match;
    const value = quoted?.replace(/\\([^])/g, '$1') ?? plain;
    // A name without a value begins the next offer.
    if (value === undefined) found.push({ scheme: name.toLowerCase(), parameters: new Map() });
    else found.at(-1)?.parameters.set(name.toLowerCase(), value);
  }
}
