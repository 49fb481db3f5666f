export { LEGACY_FOLDER, parseLegacyKey, type LegacyName } from './names.ts';
export { LegacyObjectDecoder } from './object-decoder.ts';
