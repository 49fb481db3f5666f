import type { Document, LineCounter, Node, YAMLMap } from 'yaml';
import { LitestreamError } from '../lib/errors.ts';
import { durationMs, parseDuration } from '../lib/go-duration.ts';
import { resolveScalar, type ScalarValue } from './scalar.ts';
import { parseSize } from './size.ts';
import { yaml } from './yaml-package.ts';

/** How a key's value is read. Durations become milliseconds, sizes bytes. */
export type Kind =
  | 'string'
  | 'bool'
  | 'duration'
  | 'int'
  | 'int64'
  | 'uint32'
  | 'size'
  | 'strings'
  | { readonly map: Schema }
  | { readonly list: Schema };

/** Known keys of one map. */
export type Schema = Readonly<Record<string, Kind>>;

type KindOf<T> = T extends string
  ? 'string'
  : T extends boolean
    ? 'bool'
    : T extends number
      ? 'duration' | 'int' | 'int64' | 'uint32' | 'size'
      : T extends readonly string[]
        ? 'strings'
        : T extends readonly (infer Item)[]
          ? { readonly list: SchemaOf<NonNullable<Item>> }
          : { readonly map: SchemaOf<T> };

/** The schema that yields values of this type: every key named, every kind fitting. */
export type SchemaOf<T> = { readonly [K in keyof T]-?: KindOf<NonNullable<T[K]>> };

/** A key that nothing reads. `path` is dotted, list positions in brackets. */
export interface UnknownKey {
  readonly path: string;
  readonly key: string;
  /** True if the value has an anchor: a template for other places. */
  readonly anchored: boolean;
  /** The keys that would have been read at this place. */
  readonly known: readonly string[];
}

/** A duration written as a bare number: nanoseconds, which few people mean. */
export interface BareDuration {
  readonly path: string;
  readonly value: string;
}

/** What a file says. Keys that are absent or null are absent from `value`. */
export interface Decoded<T> {
  readonly value: T;
  readonly unknownKeys: readonly UnknownKey[];
  readonly bareDurations: readonly BareDuration[];
}

type Content = Node | null | undefined;

const INTEGERS: Readonly<Record<string, readonly [min: bigint, max: bigint]>> = {
  int: [-(1n << 63n), (1n << 63n) - 1n],
  int64: [-(1n << 63n), (1n << 63n) - 1n],
  uint32: [0n, (1n << 32n) - 1n],
};

const TARGETS = { duration: 'time.Duration', strings: '[]string', size: 'string' } as const;

function targetName(kind: Kind): string {
  if (typeof kind !== 'string') return 'list' in kind ? 'list' : 'map';
  return kind === 'duration' || kind === 'strings' || kind === 'size' ? TARGETS[kind] : kind;
}

/** What `Decoder` finds at a place where a value of another kind was expected. */
class Mismatch extends Error {}

class Decoder {
  readonly errors: string[] = [];
  readonly unknownKeys: UnknownKey[] = [];
  readonly bareDurations: BareDuration[] = [];
  readonly #document: Document;
  readonly #lines: LineCounter;

  constructor(document: Document, lines: LineCounter) {
    this.#document = document;
    this.#lines = lines;
  }

  /** Reads a map's known keys; the last of repeated ones wins, explicit ones win over merged ones. */
  map(node: Content, schema: Schema, path: string): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    const content = this.#follow(node);
    if (content === undefined) return out;
    if (!yaml().isMap(content)) {
      this.#mismatch(content, 'map');
      return out;
    }
    const entries = new Map<string, Content>();
    this.#collect(content, entries, 0);
    for (const [key, value] of entries) {
      const kind = Object.hasOwn(schema, key) ? schema[key] : undefined;
      const keyPath = path === '' ? key : `${path}.${key}`;
      if (kind === undefined) {
        const anchored =
          yaml().isNode(value) && !yaml().isAlias(value) && value.anchor !== undefined;
        this.unknownKeys.push({ path: keyPath, key, anchored, known: Object.keys(schema) });
        continue;
      }
      const decoded = this.#value(value, kind, keyPath);
      if (decoded !== undefined) out[key] = decoded;
    }
    return out;
  }

  #collect(map: YAMLMap, entries: Map<string, Content>, depth: number): void {
    // Merged maps give way to explicit keys wherever `<<` stands. The depth ends a map that merges itself.
    const merges: Content[] = [];
    const own = new Map<string, Content>();
    for (const { key, value } of map.items) {
      const name = this.#keyText(key);
      if (name === '<<') merges.push(...this.#mergeSources(value));
      else own.set(name, nodeOf(value));
    }
    for (const source of merges.toReversed()) {
      const content = this.#follow(source);
      if (yaml().isMap(content) && depth < 16) this.#collect(content, entries, depth + 1);
    }
    for (const [name, value] of own) {
      entries.delete(name);
      entries.set(name, value);
    }
  }

  #mergeSources(value: unknown): Content[] {
    const content = this.#follow(nodeOf(value));
    if (yaml().isSeq(content)) return content.items.map(nodeOf);
    return [content];
  }

  #keyText(key: unknown): string {
    const content = this.#follow(nodeOf(key));
    return yaml().isScalar(content) ? String(content.value) : '';
  }

  #value(node: Content, kind: Kind, path: string): unknown {
    const content = this.#follow(node);
    if (content === undefined) return undefined;
    if (typeof kind !== 'string') {
      if ('map' in kind)
        return this.#isNull(content) ? undefined : this.map(content, kind.map, path);
      return this.#list(content, kind.list, path);
    }
    try {
      if (kind === 'strings') return this.#strings(content);
      const scalar = this.#scalar(content);
      if (scalar.tag === '!!null') return undefined;
      return this.#convert(scalar, kind, path);
    } catch (error) {
      if (!(error instanceof Mismatch)) throw error;
      this.#mismatch(content, targetName(kind));
      return undefined;
    }
  }

  /** A null list is an empty one; null entries are kept, for the caller to name. */
  #list(content: Node, schema: Schema, path: string): readonly unknown[] | undefined {
    if (this.#isNull(content)) return [];
    if (!yaml().isSeq(content)) {
      this.#mismatch(content, 'list');
      return undefined;
    }
    return content.items.map((item, index) => {
      const entry = this.#follow(nodeOf(item));
      if (entry === undefined || this.#isNull(entry)) return null;
      return this.map(entry, schema, `${path}[${index}]`);
    });
  }

  #strings(content: Node): readonly string[] | undefined {
    if (this.#isNull(content)) return undefined;
    if (!yaml().isSeq(content)) throw new Mismatch();
    return content.items.map((item) => {
      const entry = this.#follow(nodeOf(item));
      return entry === undefined ? '' : this.#scalar(entry).text;
    });
  }

  #convert(scalar: ScalarValue, kind: Exclude<Kind, object | 'strings'>, path: string): unknown {
    switch (kind) {
      case 'string':
        return scalar.text;
      case 'size':
        return parseSize(scalar.text);
      case 'bool':
        if (scalar.tag !== '!!bool') throw new Mismatch();
        return scalar.value;
      case 'duration':
        return this.#duration(scalar, path);
      case 'int':
      case 'int64':
      case 'uint32':
        return integer(scalar, kind);
    }
  }

  #duration(scalar: ScalarValue, path: string): number {
    if (scalar.tag === '!!int' || scalar.tag === '!!float') {
      const ns = scalar.tag === '!!int' ? scalar.value : BigInt(Math.trunc(scalar.value));
      if (ns !== 0n) this.bareDurations.push({ path, value: scalar.text });
      return durationMs(ns);
    }
    const ns = scalar.tag === '!!str' ? parseDuration(scalar.text) : undefined;
    if (ns === undefined) throw new Mismatch();
    return durationMs(ns);
  }

  #scalar(content: Node): ScalarValue {
    if (!yaml().isScalar(content)) throw new Mismatch();
    const plain = content.type === 'PLAIN' && content.tag === undefined;
    const text = typeof content.value === 'string' ? content.value : (content.source ?? '');
    // An empty node has no style; it is null like `~`.
    return resolveScalar(text, plain || (content.type === undefined && text === ''));
  }

  #isNull(content: Node): boolean {
    return yaml().isScalar(content) && this.#scalar(content).tag === '!!null';
  }

  #follow(node: Content): Node | undefined {
    if (node === null || node === undefined) return undefined;
    return yaml().isAlias(node) ? node.resolve(this.#document) : node;
  }

  #mismatch(content: Node, target: string): void {
    const line = this.#lines.linePos(content.range?.[0] ?? 0).line;
    this.errors.push(`line ${line}: cannot unmarshal ${this.#describe(content)} into ${target}`);
  }

  #describe(content: Node): string {
    if (yaml().isMap(content)) return '!!map';
    if (!yaml().isScalar(content)) return '!!seq';
    const { tag, text } = this.#scalar(content);
    const shown = text.length > 10 ? `${text.slice(0, 7)}...` : text;
    return `${tag} \`${shown}\``;
  }
}

function nodeOf(value: unknown): Content {
  return yaml().isMap(value) ||
    yaml().isSeq(value) ||
    yaml().isScalar(value) ||
    yaml().isAlias(value)
    ? value
    : undefined;
}

function integer(scalar: ScalarValue, kind: 'int' | 'int64' | 'uint32'): number {
  const whole =
    scalar.tag === '!!int'
      ? scalar.value
      : scalar.tag === '!!float' && Number.isFinite(scalar.value)
        ? BigInt(Math.trunc(scalar.value))
        : undefined;
  const [min, max] = INTEGERS[kind] ?? [0n, 0n];
  if (whole === undefined || whole < min || whole > max) throw new Mismatch();
  return Number(whole);
}

function yamlError(message: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', `yaml: ${message}`);
}

/** The text of a syntax error, in the reference's words where people grep for them. */
function syntaxError(code: string, message: string, line: number): LitestreamError {
  if (code === 'TAB_AS_INDENT') {
    return yamlError(`line ${line}: found character that cannot start any token`);
  }
  const [first = ''] = message.split('\n');
  return yamlError(`line ${line}: ${first.replace(/ at line \d+, column \d+:?$/, '')}`);
}

/**
 * Reads the first document of a YAML 1.1 text by a schema.
 *
 * @throws LitestreamError `ERR_CONFIG`: `yaml: …` for syntax, `yaml: unmarshal errors:` with one line per wrong value.
 *
 * Spec: config 2.
 */
export function decodeYaml<T>(text: string, schema: SchemaOf<T>): Decoded<T> {
  const lines = new (yaml().LineCounter)();
  const document = yaml().parseDocument(text.replace(/^\uFEFF/, ''), {
    version: '1.1',
    schema: 'failsafe',
    uniqueKeys: false,
    lineCounter: lines,
    prettyErrors: false,
  });
  const error = document.errors.find(({ code }) => code !== 'MULTIPLE_DOCS');
  if (error !== undefined) {
    throw syntaxError(error.code, error.message, lines.linePos(error.pos[0]).line);
  }
  yaml().visit(document, {
    Alias(_key, alias) {
      if (alias.resolve(document) === undefined) {
        throw yamlError(`unknown anchor '${alias.source}' referenced`);
      }
    },
  });
  const decoder = new Decoder(document, lines);
  const root = document.contents;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the schema says what each key holds
  const value = (isNullRoot(root) ? {} : decoder.map(root, schema, '')) as T;
  if (decoder.errors.length > 0) {
    throw yamlError(`unmarshal errors:\n  ${decoder.errors.join('\n  ')}`);
  }
  return { value, unknownKeys: decoder.unknownKeys, bareDurations: decoder.bareDurations };
}

function isNullRoot(root: Content): boolean {
  if (root === null || root === undefined) return true;
  return (
    yaml().isScalar(root) &&
    resolveScalar(root.source ?? '', root.type === 'PLAIN' || root.type === undefined).tag ===
      '!!null'
  );
}
