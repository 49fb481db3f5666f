export { LEGACY_FOLDER, parseLegacyKey, type LegacyName } from './names.ts';
export { encodeLegacyObject, LegacyObjectDecoder } from './object-decoder.ts';
