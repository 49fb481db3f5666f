/** Why a request's body is no object of the expected shape. */
export class BodyError extends Error {}

/** Index behind the JSON value that begins at `start`; undefined if it does not end. Finds the end only, and judges nothing. */
function endOfValue(text: string, start: number): number | undefined {
  let depth = 0;
  let inString = false;
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (inString) {
      if (character === '\\') at++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    if (depth === 0 && !inString) return at + 1;
  }
  return undefined;
}

/**
 * The first JSON object of a body; what follows is ignored. Names are lower case: they match without regard to it, and of equal ones the
 * last wins. `null` is an empty object.
 *
 * @throws BodyError with what goes into `details`
 *
 * Spec: interfaces 2.2.
 */
export function decodeObject(text: string): ReadonlyMap<string, unknown> {
  const start = text.search(/[^ \t\r\n]/);
  if (start < 0) throw new BodyError('EOF');
  if (/^null(?![\w"])/.test(text.slice(start, start + 5))) return new Map();
  if (text[start] !== '{') throw new BodyError('expected an object');
  const end = endOfValue(text, start);
  if (end === undefined) throw new BodyError('unexpected EOF');
  let value: unknown;
  try {
    value = JSON.parse(text.slice(start, end));
  } catch (error) {
    throw new BodyError(error instanceof Error ? error.message : String(error));
  }
  const fields = new Map<string, unknown>();
  for (const [name, field] of Object.entries(value ?? {})) fields.set(name.toLowerCase(), field);
  return fields;
}

function wrongType(name: string, wanted: string, found: unknown): BodyError {
  const kind = Array.isArray(found) ? 'array' : typeof found;
  return new BodyError(`field ${name}: expected ${wanted}, found ${kind}`);
}

/** A text; empty if it is not given. @throws BodyError */
export function textField(fields: ReadonlyMap<string, unknown>, name: string): string {
  const value = fields.get(name) ?? '';
  if (typeof value === 'string') return value;
  throw wrongType(name, 'a string', value);
}

/** A truth value; false if it is not given. @throws BodyError */
export function booleanField(fields: ReadonlyMap<string, unknown>, name: string): boolean {
  const value = fields.get(name) ?? false;
  if (typeof value === 'boolean') return value;
  throw wrongType(name, 'a boolean', value);
}

/** A whole number; 0 if it is not given. @throws BodyError */
export function integerField(fields: ReadonlyMap<string, unknown>, name: string): number {
  const value = fields.get(name) ?? 0;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  throw wrongType(name, 'an integer', value);
}
