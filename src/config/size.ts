import { LitestreamError } from '../lib/errors.ts';

const SIZE_MAX = (1n << 63n) - 1n;
const UINT64_MAX = 1n << 64n;
const PREFIXES = 'kmgtpe';
const FORM = /^([0-9.,]*)(.*)$/s;

/** The factor of a lower-case unit (`kb`, `mib`, empty), or undefined. */
function unitFactor(unit: string): bigint | undefined {
  if (unit === '' || unit === 'b') return 1n;
  const found = /^([kmgtpe])(i?)b?$/.exec(unit);
  if (found === null) return undefined;
  const exponent = BigInt(PREFIXES.indexOf(found[1] ?? '') + 1);
  return (found[2] === 'i' ? 1024n : 1000n) ** exponent;
}

function invalid(reason: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', `invalid size format: ${reason}`);
}

/**
 * Parses a byte size such as `5MB`, `1.5gb`, `1,000k` or `5 MiB`.
 *
 * @returns bytes, at most 2^63−1 (above 2^53 the nearest double).
 * @throws LitestreamError `ERR_CONFIG`
 *
 * Spec: config 2.1.
 */
export function parseSize(text: string): number {
  const trimmed = text.trim();
  if (trimmed === '') throw new LitestreamError('ERR_CONFIG', 'empty size string');
  const [, digits = '', rest = ''] = FORM.exec(trimmed) ?? [];
  const number = digits.replaceAll(',', '');
  if (!/^(?:\d+\.?\d*|\.\d+)$/.test(number)) {
    throw invalid(`strconv.ParseFloat: parsing "${number}": invalid syntax`);
  }
  const unit = rest.trim().toLowerCase();
  const factor = unitFactor(unit);
  if (factor === undefined) throw invalid(`unhandled size name: ${unit}`);
  const [whole = '', fraction = ''] = number.split('.');
  const scale = 10n ** BigInt(fraction.length);
  const bytes = (BigInt(`${whole}${fraction}`) * factor) / scale;
  if (bytes >= UINT64_MAX) throw invalid(`too large: ${trimmed}`);
  if (bytes > SIZE_MAX) {
    throw new LitestreamError(
      'ERR_CONFIG',
      `size ${bytes} exceeds maximum allowed value (${SIZE_MAX})`,
    );
  }
  return Number(bytes);
}
