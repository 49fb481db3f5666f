/** The head of an answer that has nothing out of the ordinary. */
export interface PlainHead {
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes of the body. */
  readonly size: number;
  /** True if the connection may be used again. */
  readonly kept: boolean;
}

const STATUS = /^HTTP\/1\.1 206(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e\x80-\xff]*)$/;
const PATH = /^\/[\x21-\x7e]*$/;
const VALUE = /^[\t\x20-\x7e]*$/;

/** A GET request, undefined if it holds what must not go into one. */
export function requestText(
  path: string,
  headers: Readonly<Record<string, string>>,
): string | undefined {
  if (!PATH.test(path)) return undefined;
  const lines = [`GET ${path} HTTP/1.1`];
  for (const [name, value] of Object.entries({ ...headers, connection: 'keep-alive' })) {
    const line = `${name}: ${value}`;
    if (!FIELD.test(line) || !VALUE.test(value)) return undefined;
    lines.push(line);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/**
 * Reads the head of an answer 206 whose body has a length and no transfer coding; undefined for any other, and for all that is not
 * beyond doubt: a field given twice that decides where the body ends, folded lines, line feeds alone.
 */
export function parsePlainHead(head: string): PlainHead | undefined {
  const [status = '', ...lines] = head.split('\r\n');
  if (!STATUS.test(status)) return undefined;
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const [, name = '', value = ''] = FIELD.exec(line) ?? [];
    const key = name.toLowerCase();
    if (key === '') return undefined;
    const before = headers[key];
    if (before !== undefined && key === 'content-length') return undefined;
    headers[key] = before === undefined ? value.trimEnd() : `${before}, ${value.trimEnd()}`;
  }
  const length = headers['content-length'] ?? '';
  if (headers['transfer-encoding'] !== undefined || !/^[0-9]{1,15}$/.test(length)) return undefined;
  const kept = !/(?:^|,)[\t ]*close[\t ]*(?:,|$)/i.test(headers['connection'] ?? '');
  return { headers, size: Number(length), kept };
}
