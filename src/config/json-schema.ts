import type { Kind, Schema } from './decode.ts';
import { fileDescriptions } from './descriptions.ts';
import { fileSchema } from './keys.ts';
import { promotions, readReplicaTypes } from './read-replicas.ts';
import { replicaTypes } from './replica.ts';
import { logTypes } from './validate.ts';

/** A JSON Schema, draft 7. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A duration as Go reads it: `1h30m`, `500ms`, `0`. */
const DURATION = '^[-+]?(0|((\\d+(\\.\\d*)?|\\.\\d+)(ns|us|µs|μs|ms|s|m|h))+)$';
const SIZE = '^\\s*(\\d[\\d,]*(\\.\\d*)?|\\.\\d+)\\s*([kKmMgGtTpPeE][iI]?)?[bB]?\\s*$';
/** What a variable puts here is known only when the file is read. */
const VARIABLE = { type: 'string', pattern: '\\$' };

/** Words that YAML 1.1 takes for booleans. Editors that follow YAML 1.2 see strings. */
const BOOLEAN_WORDS = ['y', 'yes', 'on', 'n', 'no', 'off'].flatMap((word) => [
  word,
  `${word.charAt(0).toUpperCase()}${word.slice(1)}`,
  word.toUpperCase(),
]);

/** Keys, with the map they stand in, that take only some words. */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  'logging.type': logTypes,
  'replica.type': replicaTypes,
  'replicas.type': replicaTypes,
  'read-replicas.type': readReplicaTypes,
  'read-replicas.promote': promotions,
};

/** Texts for the keys of a map, as `DescriptionsOf` types them. */
interface Descriptions {
  readonly [key: string]: string | { readonly about: string; readonly keys: Descriptions };
}

function either(...schemas: readonly JsonSchema[]): JsonSchema {
  return { anyOf: [...schemas, VARIABLE] };
}

function choiceSchema(words: readonly string[]): JsonSchema {
  return either({ type: ['string', 'null'], enum: [...words, null] });
}

/** Every kind may be null: the key then counts as absent. */
function kindSchema(kind: Kind, key: string, below: Descriptions): JsonSchema {
  if (typeof kind !== 'string') {
    if ('map' in kind) return mapSchema(kind.map, key, below);
    const items = { ...mapSchema(kind.list, key, below), type: 'object' };
    return { type: ['array', 'null'], items };
  }
  switch (kind) {
    case 'string':
      return { type: ['string', 'number', 'boolean', 'null'] };
    case 'strings':
      return { type: ['array', 'null'], items: { type: ['string', 'number', 'boolean', 'null'] } };
    case 'bool':
      return either({ type: ['boolean', 'null'] }, { enum: [...new Set(BOOLEAN_WORDS)] });
    case 'duration':
      return either({ type: ['number', 'null'] }, { type: 'string', pattern: DURATION });
    case 'size':
      return either({ type: ['integer', 'null'], minimum: 0 }, { type: 'string', pattern: SIZE });
    case 'uint32':
      return either({ type: ['integer', 'null'], minimum: 0, maximum: 2 ** 32 - 1 });
    case 'int':
    case 'int64':
      return either({ type: ['integer', 'null'] });
  }
}

function mapSchema(schema: Schema, name: string, descriptions: Descriptions): JsonSchema {
  const properties = Object.entries(schema).map(([key, kind]) => {
    const known = descriptions[key] ?? '';
    const { about, keys } = typeof known === 'string' ? { about: known, keys: {} } : known;
    const choices = CHOICES[`${name}.${key}`];
    const value = choices === undefined ? kindSchema(kind, key, keys) : choiceSchema(choices);
    return [key, { description: about, ...value }] as const;
  });
  return {
    type: ['object', 'null'],
    properties: Object.fromEntries(properties),
    additionalProperties: false,
  };
}

/**
 * The JSON Schema of the configuration file, for editors. Made of what the parser reads: unknown keys are errors here, although the
 * program only warns about them. What goes together with what it does not say.
 */
export function configJsonSchema(): JsonSchema {
  const root = mapSchema(fileSchema, '', fileDescriptions);
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'litestream.yml',
    ...root,
    // Templates for anchors, and what the VFS reads.
    patternProperties: { '^x-': true, '^vfs$': true },
  };
}
