import { decodeEntities } from './entities.ts';

/** Where the parser puts the text of an element that has more than text. */
export const TEXT_PROPERTY = '#text';
export const CDATA_PROPERTY = '#cdata';

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asList(value: unknown): readonly unknown[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

/** An element, read on demand. Names are without namespace; values are text, never numbers. */
export class XmlElement {
  readonly name: string;
  readonly #value: unknown;

  constructor(name: string, value: unknown) {
    this.name = name;
    this.#value = value;
  }

  /** Child elements of this name in their order. */
  children(name: string): XmlElement[] {
    if (!isRecord(this.#value) || !Object.hasOwn(this.#value, name)) return [];
    return asList(this.#value[name]).map((value) => new XmlElement(name, value));
  }

  /** The first child element on this path of names. */
  child(...path: readonly string[]): XmlElement | undefined {
    const [name, ...rest] = path;
    if (name === undefined) return this;
    return this.children(name)[0]?.child(...rest);
  }

  /** Text of this element, or of the first child on the path: undefined without such a child, '' for an empty one. */
  text(...path: readonly string[]): string | undefined {
    const found = this.child(...path);
    if (found === undefined) return undefined;
    const value = found.#value;
    if (typeof value === 'string') return decodeEntities(value);
    if (!isRecord(value)) return '';
    const text = asList(value[TEXT_PROPERTY]).map((part) => decodeEntities(String(part)));
    return text.join('') + asList(value[CDATA_PROPERTY]).map(String).join('');
  }
}
