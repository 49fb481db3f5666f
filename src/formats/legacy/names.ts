/** What the object at a key of a v0.3.x replica is. */
export type LegacyName =
  | { readonly kind: 'snapshot'; readonly generation: string; readonly index: number }
  | {
      readonly kind: 'segment';
      readonly generation: string;
      readonly index: number;
      /** Bytes from the start of the WAL of that index. */
      readonly offset: number;
    };

/** Folder of all v0.3.x data below a replica's path. */
export const LEGACY_FOLDER = 'generations';

const GENERATION = /^[0-9a-f]{16}$/;
const SNAPSHOT = /^([0-9a-f]{8})\.snapshot\.lz4$/;
/** Offsets have more than eight digits beyond 4 GiB. */
const SEGMENT = /^([0-9a-f]{8})_([0-9a-f]{8,16})\.wal\.lz4$/;
const INDEX_MAX = 0x7fff_ffff;

function snapshot(generation: string, name: string): LegacyName | undefined {
  const digits = SNAPSHOT.exec(name)?.[1];
  if (digits === undefined) return undefined;
  return { kind: 'snapshot', generation, index: parseInt(digits, 16) };
}

function segment(generation: string, name: string): LegacyName | undefined {
  const [, digits = '', offset = ''] = SEGMENT.exec(name) ?? [];
  const index = parseInt(digits, 16);
  if (digits === '' || index > INDEX_MAX) return undefined;
  return { kind: 'segment', generation, index, offset: parseInt(offset, 16) };
}

/**
 * Parses a key relative to the replica's path: `generations/<16 hex>/snapshots/<8 hex>.snapshot.lz4` or
 * `generations/<16 hex>/wal/<8 hex>_<8 to 16 hex>.wal.lz4`. Undefined for anything else, which readers skip. Spec: formats 7.1.
 */
export function parseLegacyKey(key: string): LegacyName | undefined {
  const [folder, generation = '', kind, name = '', ...rest] = key.split('/');
  if (folder !== LEGACY_FOLDER || rest.length > 0 || !GENERATION.test(generation)) return undefined;
  if (kind === 'snapshots') return snapshot(generation, name);
  return kind === 'wal' ? segment(generation, name) : undefined;
}
